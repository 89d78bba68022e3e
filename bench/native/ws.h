/* What echo.c and load.c share: clock, SHA-1, base64, RFC 6455 frame headers, the payload pattern.
 *
 * Header-only, so that `cc -O2 -o echo echo.c` is the whole build.
 */
#ifndef BENCH_WS_H
#define BENCH_WS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))

/* Payload byte i is pattern[i % PERIOD]. A multiple of four keeps the masking phase; not a power of two, so that a lost or
 * doubled block of a usual buffer size never lines up again and the comparison sees it. */
#define PERIOD 64508u
#define SPAN (1u << 20) /* longest contiguous run of pattern handed to one system call */

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline uint64_t xorshift(uint64_t *state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* PERIOD + SPAN bytes: from any phase, SPAN bytes can be read without wrapping. */
static inline uint8_t *make_pattern(const uint8_t mask[4]) {
    uint8_t *p = malloc(PERIOD + SPAN);
    uint64_t state = 88172645463325252ull;
    if (!p) die("malloc");
    for (size_t i = 0; i < PERIOD; i++) p[i] = (uint8_t)xorshift(&state) ^ (mask ? mask[i & 3] : 0);
    for (size_t i = PERIOD; i < PERIOD + SPAN; i++) p[i] = p[i - PERIOD];
    return p;
}

/* ---- SHA-1 (FIPS 180-4) of a short string, and base64 ------------------------------------------------------------ */

static inline uint32_t rol(uint32_t v, int n) { return v << n | v >> (32 - n); }

static inline void sha1(const uint8_t *data, size_t len, uint8_t out[20]) {
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t block[64];
    size_t total = ((len + 8) / 64 + 1) * 64;
    for (size_t at = 0; at < total; at += 64) {
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (size_t i = 0; i < 64; i++) {
            size_t p = at + i;
            block[i] = p < len ? data[p] : p == len ? 0x80 : p >= total - 8 ? (uint8_t)((uint64_t)len * 8 >> 8 * (total - 1 - p)) : 0;
        }
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
        for (int i = 16; i < 80; i++) w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 ? b ^ c ^ d : i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
            uint32_t k = i < 20 ? 0x5A827999 : i < 40 ? 0x6ED9EBA1 : i < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
            uint32_t t = rol(a, 5) + f + e + k + w[i];
            e = d, d = c, c = rol(b, 30), b = a, a = t;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static inline void base64(const uint8_t *in, size_t n, char *out) {
    static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) | (i + 2 < n ? in[i + 2] : 0);
        *out++ = abc[v >> 18];
        *out++ = abc[v >> 12 & 63];
        *out++ = i + 1 < n ? abc[v >> 6 & 63] : '=';
        *out++ = i + 2 < n ? abc[v & 63] : '=';
    }
    *out = 0;
}

static inline void accept_key(const char *key, size_t len, char out[32]) {
    char text[128];
    uint8_t digest[20];
    int n = snprintf(text, sizeof text, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", (int)MIN(len, 64), key);
    sha1((uint8_t *)text, (size_t)n, digest);
    base64(digest, 20, out);
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

static inline size_t write_header(uint8_t *p, int opcode, uint64_t size, const uint8_t *mask) {
    size_t n = 2;
    p[0] = (uint8_t)(0x80 | opcode);
    if (size < 126) {
        p[1] = (uint8_t)size;
    } else if (size < 65536) {
        p[1] = 126, p[2] = (uint8_t)(size >> 8), p[3] = (uint8_t)size, n = 4;
    } else {
        p[1] = 127, n = 10;
        for (int i = 0; i < 8; i++) p[2 + i] = (uint8_t)(size >> (56 - 8 * i));
    }
    if (mask) {
        p[1] |= 0x80;
        memcpy(p + n, mask, 4);
        n += 4;
    }
    return n;
}

/* An incremental frame reader: feed it header bytes, then consume payload. */
struct reader {
    uint8_t head[14], mask[4];
    uint8_t have, opcode, masked, in_payload;
    uint64_t size, left;
};

static inline size_t header_need(const struct reader *r) {
    if (r->have < 2) return 2;
    return 2 + (r->head[1] & 0x80 ? 4 : 0) + ((r->head[1] & 127) == 127 ? 8 : (r->head[1] & 127) == 126 ? 2 : 0);
}

/* Takes header bytes; returns how many were used. in_payload is set once the header is whole. */
static inline size_t read_header(struct reader *r, const uint8_t *p, size_t n) {
    size_t used = 0, need;
    while (r->have < (need = header_need(r))) {
        if (used == n) return used;
        r->head[r->have++] = p[used++];
    }
    uint8_t len = r->head[1] & 127, *h = r->head + 2;
    r->opcode = r->head[0] & 15;
    r->masked = r->head[1] >> 7;
    r->size = len;
    if (len == 126) {
        r->size = (uint64_t)h[0] << 8 | h[1];
        h += 2;
    } else if (len == 127) {
        r->size = 0;
        for (int i = 0; i < 8; i++) r->size = r->size << 8 | *h++;
    }
    if (r->masked) memcpy(r->mask, h, 4);
    r->left = r->size;
    r->have = 0;
    r->in_payload = 1;
    return used;
}

/* Exclusive-or with the mask, starting at payload offset `at`. Eight bytes a step is a small part of a recv's own copy. */
static inline void unmask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t at) {
    uint8_t turned[8];
    uint64_t word, v;
    for (int i = 0; i < 8; i++) turned[i] = mask[(at + (uint64_t)i) & 3];
    memcpy(&word, turned, 8);
    while (n >= 8) {
        memcpy(&v, p, 8);
        v ^= word;
        memcpy(p, &v, 8);
        p += 8, n -= 8;
    }
    for (size_t i = 0; i < n; i++) p[i] ^= turned[i];
}

/* Value of an HTTP field in a head (case-insensitive name), or NULL; *len gets its length. */
static inline const char *field(const char *head, const char *name, size_t *len) {
    size_t n = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        const char *p = line + 2;
        if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
            p += n + 1;
            while (*p == ' ') p++;
            const char *end = strstr(p, "\r\n");
            *len = (size_t)(end - p);
            return p;
        }
    }
    return NULL;
}

#endif
