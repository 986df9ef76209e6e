"""The handlers of `/v2/`: `async def f(request, route) -> response`, tied to routes in `app`."""
