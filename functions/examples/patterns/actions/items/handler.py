def handle(inputs):
    # A list result: what follows runs once per item.
    return [{"item": ("no-" if i % 3 == 2 else "") + f"book-{i}"} for i in range(inputs["n"])]
