def handle(inputs):
    print("refunding", inputs["id"])
    return {"refunded": inputs["id"]}
