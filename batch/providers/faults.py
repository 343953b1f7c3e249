"""What the HTTP client raised, as our code and a sentence for a person."""

from __future__ import annotations

import os
import ssl

import aiohttp

from batch.core.plain import plain


def named(error: Exception, *, sent: bool) -> tuple[str, str]:
    """Our code and a sentence for what the HTTP client raised; most special first."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return "certificate", "the endpoint's certificate is not trusted"
        case aiohttp.ClientConnectorDNSError():
            return "dns", f"cannot resolve {error.host}"
        case aiohttp.ClientHttpProxyError():
            told = plain(error.message, 60)
            return "connect", f"the proxy refuses: HTTP {error.status} {told}".rstrip()
        case aiohttp.ClientConnectorSSLError():
            return "certificate", "the endpoint does not speak TLS as it should"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            reason = os.strerror(number).lower() if number else "no connection"
            return "connect", f"cannot connect to {error.host}:{error.port}: {reason}"
        case aiohttp.ConnectionTimeoutError():
            return "connect_timeout", "no connection within the time allowed"
        case aiohttp.InvalidURL():
            return "not_a_url", "base_url is not a URL"
        case TimeoutError():
            if not sent:
                return "connect_timeout", "no connection within the time allowed"
            return "timeout", "the endpoint fell silent"
        case aiohttp.ClientPayloadError():
            return "cut", "the answer was cut off before its end"
        case aiohttp.ServerDisconnectedError():
            return "dropped", "the endpoint closed the connection without a reply"
        case aiohttp.ClientResponseError():
            return "garbled", "what came back is not HTTP"
        case aiohttp.ClientOSError() | OSError():
            reason = error.strerror or "connection lost"
            return ("dropped" if sent else "connect"), f"connection lost: {reason}"
        case ValueError() if sent:
            # NotTextError, and parse errors that are no ClientError (LineTooLong).
            return "not_text", f"the answer is not text ({plain(str(error), 80)})"
        case _ if sent:
            return "garbled", f"the reply cannot be read ({type(error).__name__})"
        case _:
            return "unsendable", f"the request cannot be sent ({type(error).__name__})"
