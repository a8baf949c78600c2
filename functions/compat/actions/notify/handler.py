def handle(inputs):
    print("notified:", inputs["message"])
