import asyncio
import time

from ryax_execution.ryax_source_protocol import RyaxRunStatus, RyaxSourceProtocol


async def run(service: RyaxSourceProtocol, input_values):
    names = ",".join(o["name"] for o in service.get_output_definitions())
    for tick in range(input_values["ticks"]):
        begun = time.time()
        await asyncio.sleep(0.01)
        await service.create_run({"tick": tick, "names": names}, running_time=time.time() - begun, status=RyaxRunStatus.DONE)
    await service.create_run_error()
    await asyncio.sleep(3600)
