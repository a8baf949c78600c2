import asyncio

samples = {"string": "Ada", "integer": 7, "boolean": True}


async def run(service, input_values):
    wanted = service.get_output_definitions()
    await service.create_run({o["name"]: samples[o["type"]] for o in wanted})
    await asyncio.sleep(3600)
