SELECT hold_fence($1)
