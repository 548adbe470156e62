"""What calls mean: from a request to the engine, from its answer or error to a response.

`service` says what a service is, `router` brings gRPC calls and `rest` brings HTTP requests to
the handlers of the services; `kv`, `maintenance`, `health` and `reflection` are services.
Both ways in share the handlers, so a check is made in one place only.
"""
