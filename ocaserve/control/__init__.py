"""The control process: the interface for operators, the control plane and Prometheus, on aiohttp.

It is one process beside the workers. It serves no content, and its end costs no client a byte; what
its successor must know it tells the supervisor (`Link.note`). `process` starts it, `wiring` says
what it is made of, `state` is what it knows, `endpoints` turns a function into an endpoint, `auth`
says who may call it, `problems` how a refusal looks. `views` describe the appliance to people, and
`handlers` answer with them.

What callers can hold is bounded in `connections` (times and numbers), `lanes` (calls of a kind),
`bodies` (what is read and inflated), `documents` (long answers, made once for all) and `broadcast`
(events, likewise). Defects are contained and counted in `contained_defects`; `patience` is for what
may hang.

How other parts of the appliance join, each made in `wiring.build_app`:

Endpoints
    A module of `handlers` with a table `ENDPOINTS`, which `wiring` lists: an `Endpoint` for each
    method and path. A handler is `async def name(call: Call) -> Answer`: `call.body` and
    `call.query` are decoded into the msgspec Structs that the endpoint names, and the Struct that
    it returns is encoded. The OpenAPI document is made from the same records. What is refused is
    raised as `problems.Problem`. A stream, a page or a text is returned as an aiohttp response, by
    an endpoint that names its `media`.

State
    `app[STATE]` (or `call.state`) is the `ControlState`. A part keeps its own under a key of its
    own: `TABLE = web.AppKey("TABLE", Table)`, `app[TABLE] = Table(...)`.

Background work
    `run_in_background(app, "name", coroutine_function)`: it is called with the app when that has
    started, called again after a pause if it raises, cancelled at the end. For what must be opened
    and closed use `app.cleanup_ctx`, as in any aiohttp application.

Health
    `app[STATE].components.append(component)`, see `ocaserve.health.Component`. What shall make
    `/healthz` say 503 by itself is a function in `app[STATE].obstacles`, which returns an
    `Obstacle` or None; what must have been heard once before is told to `app[STATE].beginning`;
    `app[STATE].lost_contact` is set by who talks to the control plane. What an error of a component
    means is a row of `health.consequences`.

Metrics
    `app[STATE].registry.register(collector)`, a collector of prometheus-client, which is called in
    the event loop: it must read what lies in memory.

Orders to workers, notes for the successor
    `app[STATE].link`. What its note must outlive is answered after `await link.flush()`.

What has changed lately
    `chronicle.find_aspects` lists what is compared, once a second.

Files that end with the appliance
    below `app[STATE].folder`.

Commands that talk to the control process are modules of `ocaserve.cli`, over `cli.client`.
"""
