def handle(inputs):
    progress = min(100, (inputs["pass"] + 1) * 40)
    return {"done": progress == 100, "progress": progress}
