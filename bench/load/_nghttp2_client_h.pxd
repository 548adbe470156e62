"""The names of nghttp2.h that a client needs beside the server's; nothing of ours."""
from libc.stdint cimport int32_t

from regatta.http2._nghttp2_h cimport nghttp2_data_provider2
from regatta.http2._nghttp2_h cimport nghttp2_nv
from regatta.http2._nghttp2_h cimport nghttp2_session
from regatta.http2._nghttp2_h cimport nghttp2_session_callbacks

cdef extern from "nghttp2/nghttp2.h" nogil:
    int NGHTTP2_SETTINGS_ENABLE_PUSH

    int nghttp2_session_client_new(nghttp2_session **, const nghttp2_session_callbacks *, void *)
    int32_t nghttp2_submit_request2(nghttp2_session *, const void *, const nghttp2_nv *, size_t,
                                    const nghttp2_data_provider2 *, void *)
    const char *nghttp2_strerror(int)
