"""The HTTP protocol under the application, which answers what is no HTTP."""

from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from recollect.service.answers import Problem
from recollect.service.http.problems import PROBLEM_TYPE, encode_problem


class Protocol(HttpToolsProtocol):
    """Uvicorn's protocol on httptools, which tells a request it cannot read as problem details too."""

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP request, and close the connection."""
        request_id = uuid4().hex
        body = encode_problem(
            Problem(
                title="The request is not HTTP",
                status=400,
                code="invalid_http",
                detail=f"{msg.removesuffix('.')}; it is no HTTP/1.1, or its first line is too long",
                request_id=request_id,
            )
        )
        head = f"content-type: {PROBLEM_TYPE}\r\ncontent-length: {len(body)}\r\nx-request-id: {request_id}\r\n"
        self.transport.write(STATUS_LINE[400] + head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
