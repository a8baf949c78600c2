{ }: self: super: { }
