-- +goose Up
-- Which blobs of the filestore the journals of runs mention, written with the rows that do. text: it
-- may be a value by reference, whose content mentions others.
CREATE TABLE run_file (
    run     uuid NOT NULL,
    project text NOT NULL,
    digest  bytea NOT NULL,
    text    boolean NOT NULL,
    PRIMARY KEY (run, digest, text)
);
CREATE INDEX run_file_digest ON run_file (project, digest);
CREATE INDEX run_file_texts ON run_file (project, digest) WHERE text;

-- What is mentioned elsewhere: made anew by each sweep.
CREATE TABLE loose_file (
    project text NOT NULL,
    digest  bytea NOT NULL,
    text    boolean NOT NULL,
    PRIMARY KEY (project, digest, text)
);

-- What the content of texts mentions, and which texts have been read for it.
CREATE TABLE text_file (
    project text NOT NULL,
    holder  bytea NOT NULL,
    digest  bytea NOT NULL,
    text    boolean NOT NULL,
    PRIMARY KEY (project, holder, digest, text)
);
CREATE INDEX text_file_digest ON text_file (project, digest);
CREATE TABLE text_read (
    project text NOT NULL,
    digest  bytea NOT NULL,
    PRIMARY KEY (project, digest)
);

-- Blobs that nothing mentions, and since when that is known.
CREATE TABLE unreferenced (
    project text NOT NULL,
    digest  bytea NOT NULL,
    since   timestamptz NOT NULL,
    PRIMARY KEY (project, digest)
);

INSERT INTO run_file (run, project, digest, text)
SELECT DISTINCT r.id, r.project, decode(m[2], 'hex'), m[1] IS NULL
FROM journal j JOIN run r ON r.id = j.run, regexp_matches(encode(j.row, 'escape'), '("\$(?:file|dir)": ?")?sha256:([0-9a-f]{64})', 'g') m
WHERE position('sha256:'::bytea IN j.row) > 0;
-- +goose Down
DROP TABLE unreferenced, text_read, text_file, loose_file, run_file;
