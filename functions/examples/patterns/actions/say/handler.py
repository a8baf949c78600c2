def handle(inputs):
    print(inputs["text"])
    return {"text": inputs["text"]}
