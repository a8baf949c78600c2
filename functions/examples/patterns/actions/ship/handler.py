class PeltonError(Exception):
    """An error with a kind, which `retry` and `catch` name."""

    def __init__(self, message, kind):
        super().__init__(message)
        self.message = message
        self.kind = kind


def handle(inputs):
    if inputs["item"].startswith("no-"):
        raise PeltonError(f"there is no {inputs['item'][3:]} left", kind="out_of_stock")
    return {"parcel": "parcel with " + inputs["item"]}
