class RyaxException(Exception):
    def __init__(self, message, code=1):
        super().__init__(message)
        self.message = message
        self.code = code


def handle(inputs):
    if inputs["how"] == "coded":
        raise RyaxException("the order is not known", code=404)
    raise KeyError("order")
