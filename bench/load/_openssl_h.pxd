"""The names of OpenSSL that the load client uses; nothing of ours."""

cdef extern from "openssl/ssl.h" nogil:
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_METHOD:
        pass

    int SSL_VERIFY_PEER, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN
    long SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER

    const SSL_METHOD *TLS_client_method()
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *)
    void SSL_CTX_free(SSL_CTX *)
    long SSL_CTX_set_mode(SSL_CTX *, long)
    void SSL_CTX_set_read_ahead(SSL_CTX *, int)
    void SSL_CTX_set_verify(SSL_CTX *, int, void *)
    int SSL_CTX_load_verify_locations(SSL_CTX *, const char *, const char *)
    int SSL_CTX_set_alpn_protos(SSL_CTX *, const unsigned char *, unsigned int)

    SSL *SSL_new(SSL_CTX *)
    void SSL_free(SSL *)
    int SSL_set_fd(SSL *, int)
    int SSL_connect(SSL *)
    int SSL_shutdown(SSL *)
    int SSL_read(SSL *, void *, int)
    int SSL_write(SSL *, const void *, int)
    int SSL_has_pending(const SSL *)
    int SSL_get_error(const SSL *, int)
    void SSL_get0_alpn_selected(const SSL *, const unsigned char **, unsigned int *)

cdef extern from "openssl/err.h" nogil:
    unsigned long ERR_get_error()
    void ERR_clear_error()
    void ERR_error_string_n(unsigned long, char *, size_t)
