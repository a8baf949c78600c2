from numbers_of import one


def handle(inputs):
    return {"sum": inputs["a"] + one()}
