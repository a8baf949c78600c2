import time


def handle(inputs):
    return {"temperature": len(inputs["city"]) * 3, "asked_at": time.time()}
