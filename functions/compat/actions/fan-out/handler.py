import asyncio


async def handle(req):
    await asyncio.sleep(0)
    return [{"word": w} for w in req["words"].split(",") if w]
