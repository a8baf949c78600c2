"""The language process of Python actions: loads a handler and runs executions.

Speaks length-prefixed JSON frames (4 bytes, big endian) with the wrapper over file descriptor 3.
Modes: ``reuse`` runs executions one after the other in this process; ``fork`` is a warm parent
that forks a child for each, with the child's channel handed over as a file descriptor.
Standard library only, Python 3.9 and later.
"""

import os
import sys
import time

_STARTED = time.perf_counter()

import binascii  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import struct  # noqa: E402

# What is imported here is part of every cold start, and of every fork. The modules in front of these two make enums of
# their constants, and signal.signal turns its values into those and back.
try:
    import _signal as signal
    import _socket as socket
except ImportError:
    import signal
    import socket

_HEAD = struct.Struct(">I")
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False)
_DECODE = json.JSONDecoder().raw_decode
_SHIM = os.path.abspath(__file__)
_SHIM_DIR = os.path.dirname(_SHIM)
_MAX_TEXT = 64 * 1024 * 1024


def encoder():
    """The encoder's own encode, which makes its C part anew for every text, with one that is made once."""
    try:
        c = json.encoder.c_make_encoder(None, _ENCODER.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
        if "".join(c({"a": [1.5, "é"]}, 0)) == '{"a":[1.5,"é"]}':
            return lambda value: "".join(c(value, 0))
    except Exception:  # another version of Python has another one, or none
        pass
    return _ENCODER.encode


_ENCODE = encoder()


class Cancelled(BaseException):
    """Raised in the handler when the execution is cancelled; passes `except Exception`."""


class Channel:
    """Frames over a socket. One thread sends at a time; a lock lets several do so."""

    def __init__(self, sock):
        import _thread

        self.sock = sock
        self.lock = _thread.allocate_lock()
        self.pending = b""

    def send(self, text):
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        with self.lock:
            self.sock.sendall(_HEAD.pack(len(data)) + data)

    def send_obj(self, obj):
        self.send(json.dumps(obj, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace"))

    def _fill(self, n):
        while len(self.pending) < n:
            chunk = self.sock.recv(max(65536, n - len(self.pending)))
            if not chunk:
                return False
            self.pending = self.pending + chunk if self.pending else chunk
        return True

    def recv(self):
        if not self._fill(4):
            return None
        n = _HEAD.unpack_from(self.pending)[0]
        if not self._fill(4 + n):
            return None
        data, self.pending = self.pending[4 : 4 + n], self.pending[4 + n :]
        return _DECODE(data.decode("utf-8", "surrogatepass"))[0]

    def poll(self):
        """The next message if one is there already, else None."""
        import select

        if len(self.pending) < 4 and not select.select([self.sock], [], [], 0)[0]:
            return None
        message = self.recv()
        if message is None:  # the wrapper is gone
            raise Cancelled()
        return message


class LogStream:
    """Stands for sys.stdout and sys.stderr: whole lines become log frames, in order."""

    encoding = "utf-8"
    errors = "replace"
    closed = False
    newlines = None

    def __init__(self, name, level, fd):
        self.name, self.level, self.fd = name, level, fd
        self.channel = None
        self.execution = ""
        self.rest = ""

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not " + type(text).__name__)
        self.rest += text
        if "\n" in text:
            lines = self.rest.split("\n")
            self.rest = lines.pop()
            self._send(lines)
        elif len(self.rest) > 65536:
            self.end()
        return len(text)

    def _send(self, lines):
        if self.channel is None:
            os.write(self.fd, ("\n".join(lines) + "\n").encode("utf-8", "replace"))
            return
        for line in lines:
            self.channel.send_obj({"t": "log", "id": self.execution, "s": self.name, "l": self.level, "m": line})

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def end(self):
        if self.rest:
            rest, self.rest = self.rest, ""
            self._send([rest])

    def flush(self):
        pass

    def isatty(self):
        return False

    def readable(self):
        return False

    def writable(self):
        return True

    def seekable(self):
        return False

    def fileno(self):
        return self.fd

    def close(self):
        pass

    @property
    def buffer(self):
        return _Bytes(self)


class _Bytes:
    def __init__(self, stream):
        self.stream = stream

    def write(self, data):
        self.stream.write(bytes(data).decode("utf-8", "replace"))
        return len(data)

    def flush(self):
        pass


OUT = LogStream("stdout", "info", 1)
ERR = LogStream("stderr", "error", 2)


def install_logging():
    """Sends the records of the logging module with their level, one record each: from now on where user code has imported
    it already, and may have configured it, else from the moment on that it does."""
    if "logging" in sys.modules:
        send_records(sys.modules["logging"])
    else:
        sys.meta_path.insert(0, LoggingFinder)


class LoggingFinder:
    """Finds the logging module as the other finders do, and has its records sent once it is there."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(cls)
        import importlib.util

        spec = importlib.util.find_spec(name)
        execute_module = spec.loader.exec_module

        def execute_and_send(module):
            execute_module(module)
            send_records(module)

        spec.loader.exec_module = execute_and_send
        return spec


def send_records(logging):
    class Handler(logging.Handler):
        def emit(self, record):
            level = "debug"
            for name, at in (("error", 40), ("warn", 30), ("info", 20)):
                if record.levelno >= at:
                    level = name
                    break
            text = self.format(record)
            if OUT.channel is None:
                os.write(2, (text + "\n").encode("utf-8", "replace"))
            else:
                OUT.channel.send_obj({"t": "log", "id": OUT.execution, "s": "logger", "l": level, "m": text})

    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(Handler())
        root.setLevel(logging.INFO)


class Context:
    """What a handler may ask about its execution."""

    def __init__(self, channel, start):
        c = start.get("ctx", {})
        self._channel = channel
        self._id = start["id"]
        self._cancelled = False
        self._emitted = False
        self.run_id = c.get("run_id", "")
        self.step = c.get("step", "")
        self.attempt = c.get("attempt", 1)
        self.idempotency_key = c.get("idempotency_key", "")
        self.deadline = c.get("deadline", 0) / 1000 or None  # Unix time in seconds, None = none
        self.workdir = c.get("workdir", "")
        self.trace = c.get("trace", "")
        self.cursor = start.get("cursor")

    @property
    def cancelled(self):
        return self._cancelled

    def log(self, message, level="info"):
        self._channel.send_obj({"t": "log", "id": self._id, "s": "logger", "l": level, "m": str(message)})

    def progress(self, fraction, note=""):
        self._channel.send_obj({"t": "progress", "id": self._id, "f": float(fraction), "m": str(note)})

    def emit(self, value):
        """Sends one result of a list result at once, before the handler returns."""
        self._emitted = True
        self._channel.send(encode_outputs("out", self._id, [value], True))


def plain(value, path, seen=0):
    """Makes JSON data of a value; tells the place of what cannot be."""
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is float:
        if value != value or value in (float("inf"), float("-inf")):
            raise OutputError(path, "is %r, which is no number that can be passed on; return a finite number or leave it out" % value)
        return value
    if seen > 200:
        raise OutputError(path, "is nested more than 200 levels deep")
    if isinstance(value, dict):
        return {str(k): plain(v, path, seen + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, path, seen + 1) for v in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return binascii.b2a_base64(bytes(value), newline=False).decode("ascii")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "item") and not hasattr(value, "__len__"):  # scalars of numeric libraries
        return plain(value.item(), path, seen + 1)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return plain(float(value), path, seen + 1)
    if hasattr(value, "tolist"):
        return plain(value.tolist(), path, seen + 1)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return [plain(v, path, seen + 1) for v in value]
    raise OutputError(path, "is a %s, which cannot be passed on; return strings, numbers, booleans, lists and dicts" % type(value).__name__)


class OutputError(Exception):
    def __init__(self, field, message):
        super().__init__(field + ": " + message if field else message)
        self.field, self.text = field, message


def encode_outputs(kind, execution, results, is_list, extra=None):
    out = []
    for result in results:
        if not isinstance(result, dict):
            raise OutputError("", "the handler returned a %s: return a dict with the outputs, or a list of such dicts" % type(result).__name__)
        out.append({str(k): plain(v, str(k)) for k, v in result.items()})
    message = {"t": kind, "id": execution, "v": out, "list": is_list}
    if extra:
        message.update(extra)
    text = _ENCODE(message).encode("utf-8", "replace")
    if len(text) > _MAX_TEXT:
        field = ""
        if out:
            field = max(out[0], key=lambda k: len(json.dumps(out[0][k])))
        raise OutputError(field, "is too large: all outputs together are %d MiB of JSON and the limit is 64; write it to a file and return that" % (len(text) >> 20))
    return text


def author_stack(error):
    """The stack from the author's frame on."""
    import traceback

    tb = error.__traceback__
    while tb is not None and os.path.abspath(tb.tb_frame.f_code.co_filename) == _SHIM:
        tb = tb.tb_next
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith("<frozen"):
        tb = tb.tb_next
    lines = traceback.format_exception(type(error), error, tb, limit=60)
    text = "".join(lines).rstrip()
    if Loaded.code:
        text = text.replace(Loaded.code, "")  # as the author knows the file, not where it lies here
    return text if len(text) < 32768 else text[:16384] + "\n…\n" + text[-16384:]


def failure(execution, error):
    """A frame that tells a typed error. Classes are known by name: authors import nothing."""
    name = type(error).__name__
    message = {"t": "fail", "id": execution, "stack": "", "kind": "user_error"}
    if isinstance(error, OutputError):
        message.update(kind="invalid_output", m=str(error), field=error.field)
        return message
    try:
        message["stack"] = author_stack(error)
    except MemoryError:  # there is room for the rest
        pass
    text = str(error)
    if name in ("PeltonError", "RyaxException"):
        args = error.args
        text = str(getattr(error, "message", args[0] if args else ""))
        code = getattr(error, "code", args[1] if len(args) > 1 else None)
        if code is not None:
            message["code"] = str(code)
    else:
        code = getattr(error, "code", None)
        if code is not None and isinstance(code, (str, int)) and not isinstance(error, SystemExit):
            message["code"] = str(code)
        text = name + (": " + text if text else "")
    if isinstance(error, SystemExit):
        message["kind"], text = "crashed", "the handler called sys.exit(%s)" % (error.code,)
    if isinstance(error, MemoryError):
        message["kind"] = "out_of_memory"
    kind = getattr(error, "kind", None)
    if isinstance(kind, str) and kind:
        message["kind"] = kind
    if getattr(error, "retryable", False):
        message["retryable"] = True
    details = getattr(error, "details", None)
    if details is not None:
        try:
            message["details"] = plain(details, "details")
        except Exception:
            message["details"] = repr(details)[:4096]
    message["m"] = text[:65536]
    return message


def positional(function):
    """How many parameters a callable takes by position."""
    if type(function) is type(positional) and not hasattr(function, "__wrapped__") and not hasattr(function, "__signature__"):
        code = function.__code__
        return code.co_argcount + (code.co_flags >> 2 & 1)  # CO_VARARGS
    import inspect

    try:
        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return 1
    return sum(k in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL) for k in kinds)


class Loaded:
    """A loaded handler and how it is to be called."""

    code = ""  # the folder of the author's files, with a separator at its end

    def __init__(self, bundle, config):
        path = os.path.join(bundle, config["handler"])
        code = os.path.join(bundle, "code")
        Loaded.code = os.path.join(os.path.abspath(code), "")
        deps = os.path.join(bundle, "deps")
        here = os.path.dirname(path)
        roots = [here, code, os.path.join(code, "src")]
        sys.path[:0] = [p for i, p in enumerate(roots) if p not in roots[:i] and os.path.isdir(p)]
        if os.path.isdir(deps):
            import site

            site.addsitedir(deps)  # honours .pth files
        for wheel in sorted(os.listdir(code)) if os.path.isdir(code) else ():
            if wheel.endswith(".whl"):
                sys.path.append(os.path.join(code, wheel))
        sys.path.append(os.path.join(_SHIM_DIR, "provided"))
        os.chdir(here)
        sys.argv = [path]
        import importlib.util

        spec = importlib.util.spec_from_file_location("handler", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["handler"] = module
        spec.loader.exec_module(module)
        name = config.get("export") or "handle"
        self.function = getattr(module, name, None)
        if not callable(self.function):
            raise AttributeError("%s has no function %s" % (os.path.basename(path), name))
        self.source = config.get("kind") == "Source"
        self.with_context = positional(self.function) >= 2
        self.bytes_inputs = [i["name"] for i in (config.get("inputs") or ()) if i.get("type") == "bytes"]
        self.outputs = config.get("outputs") or []


class Current:
    """The execution under way, for the handler of SIGTERM; outside of one the signal is ignored."""

    running = False
    cancelled = False
    context = None


def on_term(*_):
    if Current.running:
        Current.cancelled = True
        if Current.context is not None:
            Current.context._cancelled = True
        raise Cancelled()


_FOLDER = ("", "")  # the one before, and its TMPDIR


def enter(workdir):
    """Makes the execution's folder the current one."""
    global _FOLDER
    os.chdir(workdir)
    if workdir != _FOLDER[0]:
        _FOLDER = (workdir, os.path.dirname(workdir) + "/tmp")
    if os.environ.get("TMPDIR") != _FOLDER[1]:
        os.environ["TMPDIR"] = _FOLDER[1]


def execute(loaded, channel, start, before=None):
    """Runs one execution and sends how it ended. before is the process's use until then, None in a process of its own that
    nobody prepared; the use after it is returned."""
    execution = start["id"]
    ctx = Context(channel, start) if loaded.with_context or loaded.source else None
    OUT.channel = ERR.channel = channel
    OUT.execution = ERR.execution = execution
    workdir = start.get("ctx", {}).get("workdir")
    if workdir:
        enter(workdir)
    Current.context = ctx
    if signal.getsignal(signal.SIGTERM) is not on_term:
        signal.signal(signal.SIGTERM, on_term)
    inputs = start.get("in", {})
    for name in loaded.bytes_inputs:
        if isinstance(inputs.get(name), str):
            inputs[name] = binascii.a2b_base64(inputs[name])
    try:
        Current.running = True
        try:
            if loaded.source:
                import pelton_source

                pelton_source.run(loaded, channel, start, inputs, ctx)
                frame = {"t": "done", "id": execution}
            else:
                result = loaded.function(inputs, ctx) if loaded.with_context else loaded.function(inputs)
                if hasattr(result, "__await__"):
                    import asyncio

                    async def wait(awaitable):
                        return await awaitable

                    result = asyncio.run(wait(result))
                if result is None:
                    result = [] if ctx is not None and ctx._emitted else {}
                is_list = isinstance(result, (list, tuple))
                frame = encode_outputs("result", execution, list(result) if is_list else [result], is_list)
        finally:
            Current.running = False
            Current.context = None
            OUT.end()
            ERR.end()
    except Cancelled:
        frame = {"t": "fail", "id": execution, "kind": "cancelled", "m": "the execution was cancelled"}
    except BaseException as error:
        frame = failure(execution, error)
    if not isinstance(frame, bytes):
        frame = json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    after = resource.getrusage(resource.RUSAGE_SELF)
    channel.send(frame[:-1] + used(before, after))
    return after


def used(before, now):
    """The end of a last frame: what the execution used of the processor, and the memory's peak."""
    seconds = now.ru_utime + now.ru_stime
    if before is not None:
        seconds -= before.ru_utime + before.ru_stime
    return b',"cpu_us":%d,"rss_kb":%d}' % (seconds * 1e6, now.ru_maxrss // (1024 if sys.platform == "darwin" else 1))


def threads():
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()


def reuse(loaded, channel, queued):
    usage = resource.getrusage(resource.RUSAGE_SELF)
    receive = queue(channel) if queued else channel.recv
    while True:
        message = receive()
        if message is None:
            return
        if message["t"] == "start":
            usage = execute(loaded, channel, message, usage)


def queue(channel):
    """The source of executions where the wrapper has a queue of them: file descriptor 4, a socket of whole
    messages. One is taken when it begins, never earlier: the wrapper may take back what lies there."""
    take = socket.socket(fileno=4).recv

    def receive():
        data = take(32768)
        if data == b"!":  # a large one comes the way of all frames
            return channel.recv()
        return _DECODE(data.decode("utf-8", "surrogatepass"))[0] if data else None

    return receive


class Nothing:
    """The handler and the channel of an execution that is none."""

    with_context = source = False
    bytes_inputs = ()

    @staticmethod
    def function(inputs):
        return inputs

    @staticmethod
    def send(text):
        pass


def warm():
    """Goes the way of an execution without one, in a process that waits for its own: most of what a first one takes is
    copies of the pages that it touches. Returns the process's use until then."""
    return execute(Nothing, Nothing, _DECODE('{"id":"","in":{"a":1}}')[0])


def fork(loaded, control):
    """The warm parent: forks a child for each request, tells how it ended."""
    import array
    import gc

    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    import select

    children = {}

    def reap():
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            execution = children.pop(pid, None)
            if execution is None:
                continue
            scale = 1 if sys.platform != "darwin" else 1024
            control.send_obj({
                "t": "exit", "id": execution, "pid": pid,
                "status": os.waitstatus_to_exitcode(status),
                "cpu_us": int((usage.ru_utime + usage.ru_stime) * 1e6), "rss_kb": usage.ru_maxrss // scale,
            })

    sock = control.sock
    fds = array.array("i")
    while True:
        ready, _, _ = select.select([sock, wake_read], [], [])
        if wake_read in ready:
            try:
                os.read(wake_read, 4096)
            except BlockingIOError:
                pass
            reap()
        if sock not in ready:
            continue
        # One request is one message with three descriptors: channel, stdout, stderr.
        data, ancillary, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(3 * fds.itemsize))
        if not data:
            return
        got = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                got.frombytes(payload[: len(payload) - len(payload) % got.itemsize])
        execution = data[4:].decode()
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.close(wake_read)
                os.close(wake_write)
                os.dup2(got[1], 1)
                os.dup2(got[2], 2)
                channel = Channel(socket.socket(fileno=got[0]))
                os.close(got[1])
                os.close(got[2])
                sock.close()
                usage = None
                # Where executions come one after the other, its own is there before long, and there is no time for that.
                if execution.endswith("w") and not select.select([channel.sock], [], [], 0.002)[0]:
                    usage = warm()
                message = channel.recv()
                if message is not None:
                    execute(loaded, channel, message, usage)
            except BaseException as error:  # the shim's own failure: told on stderr, seen as a crash
                try:
                    os.write(2, (repr(error) + "\n").encode())
                finally:
                    os._exit(70)
            os._exit(0)
        children[pid] = execution
        for fd in got:
            os.close(fd)
        control.send_obj({"t": "forked", "id": execution, "pid": pid})


def main():
    bundle, mode, queued = sys.argv[1], sys.argv[2], sys.argv[3:] == ["queue"]
    sock = socket.socket(fileno=3)
    channel = Channel(sock)
    with open(os.path.join(bundle, "bundle.json"), encoding="utf-8") as f:
        config = json.load(f)
    sys.stdout, sys.stderr = OUT, ERR
    OUT.channel = ERR.channel = channel
    sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != _SHIM_DIR]
    sys.path.append(_SHIM_DIR)
    try:
        loaded = Loaded(bundle, config)
        install_logging()
    except BaseException as error:
        OUT.end()
        ERR.end()
        text = type(error).__name__ + ": " + str(error)
        if isinstance(error, SyntaxError):
            text = "%s:%s: SyntaxError: %s" % (os.path.basename(error.filename or "?"), error.lineno, error.msg)
        channel.send_obj({"t": "load_error", "m": text, "stack": author_stack(error)})
        return
    OUT.end()
    ERR.end()
    count = threads()
    channel.send_obj({"t": "ready", "load_us": int((time.perf_counter() - _STARTED) * 1e6), "threads": count})
    if mode == "fork" and count == 1:
        fork(loaded, channel)
    else:
        reuse(loaded, channel, queued)


if __name__ == "__main__":
    # Sources import this module by its name: it is this one, not a second copy.
    sys.modules["pelton_shim"] = sys.modules["__main__"]
    main()
