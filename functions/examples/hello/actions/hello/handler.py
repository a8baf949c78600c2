def handle(inputs):
    greeting = f"Hello, {inputs['name']}!"
    print(greeting)
    return {"greeting": greeting}
