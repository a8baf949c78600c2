"""Starts an action's shim under a debugger: debugpy, or pdb at the other end of a socket.

The interpreter is called with BOOT, this file's settings as JSON, before the shim's own arguments.
"""

import importlib.util
import json
import sys

BOOT = json.loads(sys.argv[1])
ARGS = sys.argv[next(i for i, a in enumerate(sys.argv) if a.endswith("pelton_shim.py")) :]
SHIM = ARGS[0]


def wait_for_debugpy():
    sys.path.append(BOOT["debugpy"])
    import debugpy

    host, port = debugpy.listen(("127.0.0.1", 0))
    with open(BOOT["told"], "w") as told:
        told.write("listening at: %s:%d\n" % (host, port))
    debugpy.wait_for_client()


def stop_in_handler(function):
    """Has pdb stop at the first line of the handler's body."""
    import dis
    import inspect
    import pdb
    import socket

    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return
    lines = sorted({line for _, line in dis.findlinestarts(code) if line})
    body = [line for line in lines if line > code.co_firstlineno] or lines
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(BOOT["terminal"])
    debugger = pdb.Pdb(stdin=connection.makefile("r"), stdout=connection.makefile("w"), nosigint=True, readrc=False)
    debugger.set_break(code.co_filename, body[0], temporary=True)
    debugger.botframe = sys._getframe()  # what runs outside of it goes on
    debugger.set_continue()
    sys.settrace(debugger.trace_dispatch)


sys.argv = ARGS
spec = importlib.util.spec_from_file_location("pelton_shim", SHIM)
shim = importlib.util.module_from_spec(spec)
sys.modules["pelton_shim"] = shim
if BOOT["debugpy"]:
    wait_for_debugpy()
    spec.loader.exec_module(shim)
else:
    spec.loader.exec_module(shim)
    load = shim.Loaded.__init__

    def loaded(self, *args):
        load(self, *args)
        stop_in_handler(self.function)

    shim.Loaded.__init__ = loaded
shim.main()
