import os


def handle(inputs):
    with open(inputs["document"]) as f:
        content = f.read()
    copy = "copy.txt"
    with open(copy, "w") as f:
        f.write(content.upper())
    os.makedirs("out/deep", exist_ok=True)
    with open("out/deep/a.txt", "w") as f:
        f.write("in a folder")
    raw = inputs["raw"]
    return {
        "text": inputs["text"],
        "long_text": inputs["long_text"],
        "count": inputs["count"] + 1,
        "share": inputs["share"] / 2,
        "sure": not inputs["sure"],
        "colour": inputs["colour"],
        "raw": raw[::-1],
        "document": copy,
        "folder": "out",
        "seen-as": f"{type(raw).__name__} {len(inputs['password'])} {inputs.get('remark')}",
    }
