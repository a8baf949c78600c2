def handle(inputs, ctx):
    # A payment service takes this key, so that a second attempt charges nothing again.
    return {"id": "charge-" + ctx.idempotency_key.split(":")[0][-6:]}
