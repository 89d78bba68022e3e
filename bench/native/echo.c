/* The upstream of every scenario: a WebSocket echo server and HTTP responder that is never the bottleneck.
 *
 *   echo PORT [HEARTBEAT_MS]         binds 127.0.0.1, PORT 0 = the kernel chooses; prints the port
 *
 *   GET /large?bytes=N               a body of N bytes (Content-Length, pattern of ws.h)
 *   GET anything else                a small body (128 bytes)
 *   upgrade on /source…              each message asks, in its first eight bytes (two little-endian uint32: count, size), for `count`
 *                                    binary messages of `size` bytes
 *   upgrade on /heartbeat…           echo, and a ping every HEARTBEAT_MS
 *   upgrade on anything else         echo
 *
 * Frames are echoed as they stream by, unmasked in place: a 32 MiB message needs no 32 MiB. A connection whose peer does not read
 * is not read either.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ws.h"

#define BUFFER (256 * 1024)
#define ROOM 16 /* more than a header's front */
#define HEAD_MAX 16384
#define ASKS 32

enum { HTTP, ECHO, SOURCE, CLOSING };

struct ask {
    uint32_t count, size;
};

struct conn {
    int fd, mode, dead;
    uint32_t events;
    char *head; /* only while a request head is incomplete */
    size_t head_len;
    struct reader r;
    uint8_t control[125];
    uint8_t *kept; /* output that a send did not take */
    size_t off, len;
    uint64_t body_left; /* of a /large response */
    uint64_t body_at;
    struct ask asks[ASKS]; /* ring of what /source still owes */
    unsigned ask_head, ask_tail;
    uint64_t source_at; /* offset within the frame being sent, header included; 0 at a boundary */
    uint64_t due;       /* next heartbeat */
    struct conn *before, *after;
};

static int ep;
static uint8_t *in, *scratch, *pattern;
static uint64_t heartbeat_ns;
static struct conn beats = {.before = &beats, .after = &beats}; /* ring, soonest first: all share one interval */
static struct conn *graves[65536];
static int n_graves;

static void watch(struct conn *c, uint32_t events) {
    if (c->events == events) return;
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
    c->events = events;
}

static void beat_off(struct conn *c) {
    if (!c->after) return;
    c->before->after = c->after;
    c->after->before = c->before;
    c->before = c->after = NULL;
}

static void beat_on(struct conn *c, uint64_t now) {
    c->due = now + heartbeat_ns;
    c->before = beats.before;
    c->after = &beats;
    beats.before->after = c;
    beats.before = c;
}

static void drop(struct conn *c) {
    if (c->dead) return;
    c->dead = 1;
    beat_off(c);
    close(c->fd);
    free(c->head);
    free(c->kept);
    graves[n_graves++] = c;
}

static void put(struct conn *c, const uint8_t *data, size_t n) {
    ssize_t sent = 0;
    if (c->dead) return;
    if (!c->kept) {
        sent = send(c->fd, data, n, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                drop(c);
                return;
            }
            sent = 0;
        }
        if ((size_t)sent == n) return;
        c->off = c->len = 0;
    }
    c->kept = realloc(c->kept, c->len + n - (size_t)sent);
    memcpy(c->kept + c->len, data + sent, n - (size_t)sent);
    c->len += n - (size_t)sent;
    watch(c, EPOLLOUT);
}

/* ---- HTTP -------------------------------------------------------------------------------------------------------- */

static void respond(struct conn *c, const char *type, const char *body, size_t n) {
    char text[1024];
    int len = snprintf(text, sizeof text,
                       "HTTP/1.1 200 OK\r\nServer: bench-echo\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n\r\n%.*s", type,
                       n, (int)n, body);
    put(c, (uint8_t *)text, (size_t)len);
}

/* Sends of a pending /large body: a bounded piece a turn, so that the other connections keep their turn too. */
static void pump_body(struct conn *c) {
    for (int i = 0; i < 2 && c->body_left && !c->kept && !c->dead; i++) {
        size_t n = (size_t)MIN(c->body_left, BUFFER);
        ssize_t sent = send(c->fd, pattern + c->body_at % PERIOD, n, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN || errno == EINTR) break;
            drop(c);
            return;
        }
        c->body_left -= (uint64_t)sent;
        c->body_at += (uint64_t)sent;
    }
    if (c->dead) return;
    watch(c, c->body_left || c->kept ? EPOLLOUT : EPOLLIN);
}

static void request(struct conn *c, char *head) {
    size_t len;
    const char *upgrade = field(head, "upgrade", &len), *key = field(head, "sec-websocket-key", &len);
    char *path = strchr(head, ' ');
    if (!path) {
        drop(c);
        return;
    }
    path++;
    if (upgrade && key) {
        char accept[32], text[512];
        accept_key(key, len, accept);
        int n = snprintf(text, sizeof text,
                         "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
        c->mode = strncmp(path, "/source", 7) == 0 ? SOURCE : ECHO;
        if (heartbeat_ns && strncmp(path, "/heartbeat", 10) == 0) beat_on(c, now_ns());
        put(c, (uint8_t *)text, (size_t)n);
        return;
    }
    if (strncmp(path, "/large", 6) == 0) {
        char text[256], *q = strstr(path, "bytes=");
        c->body_left = q ? strtoull(q + 6, NULL, 10) : 100000000;
        c->body_at = 0;
        int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %llu\r\n\r\n",
                         (unsigned long long)c->body_left);
        put(c, (uint8_t *)text, (size_t)n);
        if (!c->dead) pump_body(c);
    } else {
        static char body[129];
        if (!body[0]) memset(body, 'b', 128), body[127] = '\n';
        respond(c, "text/plain", body, 128);
    }
}

/* ---- WebSocket --------------------------------------------------------------------------------------------------- */

static void pump_source(struct conn *c) {
    size_t budget = 2 * BUFFER;
    while (c->ask_head != c->ask_tail && !c->kept && !c->dead && budget) {
        struct ask *a = &c->asks[c->ask_head % ASKS];
        if (!a->count) {
            c->ask_head++;
            continue;
        }
        uint8_t header[14];
        size_t h = write_header(header, BINARY, a->size, NULL);
        uint64_t frame = h + a->size;
        const uint8_t *from;
        size_t n;
        if (c->source_at >= h + 16384) { /* deep in a large frame: straight from the pattern */
            n = (size_t)MIN(frame - c->source_at, MIN(budget, BUFFER));
            from = pattern + (c->source_at - h) % PERIOD;
        } else { /* gather small frames, or the front of a large one */
            uint64_t at = c->source_at;
            uint32_t left = a->count;
            n = 0;
            from = scratch;
            while (left && n < 65536) {
                if (at < h) {
                    memcpy(scratch + n, header + at, h - at);
                    n += h - at;
                    at = h;
                }
                size_t m = (size_t)MIN(frame - at, 65536);
                memcpy(scratch + n, pattern + (at - h) % PERIOD, m);
                n += m, at += m;
                if (at == frame) at = 0, left--;
            }
        }
        ssize_t sent = send(c->fd, from, n, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                drop(c);
                return;
            }
            break;
        }
        budget -= MIN(budget, (size_t)sent);
        uint64_t at = c->source_at + (uint64_t)sent;
        a->count -= (uint32_t)(at / frame);
        c->source_at = at % frame;
        if ((size_t)sent < n) break;
    }
    if (c->dead) return;
    watch(c, (c->ask_head != c->ask_tail || c->kept ? EPOLLOUT : 0) |
                 (c->kept || c->ask_tail - c->ask_head >= ASKS ? 0 : EPOLLIN));
}

/* Turns n received bytes at p into what goes back, in place: an unmasked header is four bytes shorter, so output never overtakes
 * input. Except that the front of a header may have come with the previous bytes; ROOM bytes before p are free for that.
 * Sends the result. */
static void frames(struct conn *c, uint8_t *p, size_t n) {
    uint8_t *end = p + n, *out = p - c->r.have, *begin = out;
    struct reader *r = &c->r;
    while (p < end) {
        if (!r->in_payload) {
            p += read_header(r, p, (size_t)(end - p));
            if (!r->in_payload) break;
            if (r->opcode >= 8 && r->size > sizeof c->control) { /* no control frame: the proxy garbled something */
                drop(c);
                return;
            }
            if (r->opcode < 8 && c->mode == ECHO) {
                uint8_t header[14];
                size_t h = write_header(header, r->opcode, r->size, NULL);
                header[0] = r->head[0]; /* FIN and RSV as they came */
                memcpy(out, header, h);
                out += h;
            }
        }
        size_t m = (size_t)MIN(r->left, (uint64_t)(end - p));
        uint64_t offset = r->size - r->left;
        if (r->masked) unmask(p, m, r->mask, offset);
        if (r->opcode >= 8) {
            memcpy(c->control + offset, p, m);
        } else if (c->mode == ECHO) {
            if (out != p) memmove(out, p, m);
            out += m;
        } else if (offset < 8) {
            memcpy(c->control + offset, p, MIN(m, 8 - offset));
        }
        p += m;
        r->left -= m;
        if (r->left) break;
        r->in_payload = 0;
        if (r->opcode < 8) {
            if (c->mode == SOURCE && r->size >= 8) {
                struct ask *a = &c->asks[c->ask_tail++ % ASKS];
                memcpy(&a->count, c->control, 4);
                memcpy(&a->size, c->control + 4, 4);
            }
        } else if (r->opcode != PONG) { /* ping → pong, close → close; what precedes it in this buffer goes first */
            uint8_t reply[127];
            size_t h = write_header(reply, r->opcode == PING ? PONG : CLOSE, r->size, NULL);
            memcpy(reply + h, c->control, r->size);
            if (out > begin) put(c, begin, (size_t)(out - begin));
            put(c, reply, h + r->size);
            if (c->dead) return;
            out = begin = p;
            if (r->opcode == CLOSE) {
                c->mode = CLOSING;
                if (!c->kept) shutdown(c->fd, SHUT_WR); /* else writable() does, after the last of it */
                return;
            }
        }
    }
    if (out > begin) put(c, begin, (size_t)(out - begin));
}

static void readable(struct conn *c) {
    ssize_t n = recv(c->fd, in, BUFFER, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) drop(c);
        return;
    }
    if (c->mode == CLOSING) return;
    uint8_t *p = in;
    size_t len = (size_t)n;
    while (c->mode == HTTP && len && !c->dead) {
        if (!c->head) c->head = malloc(HEAD_MAX + 1), c->head_len = 0;
        size_t room = MIN(HEAD_MAX - c->head_len, len), before = c->head_len;
        memcpy(c->head + c->head_len, p, room);
        c->head_len += room;
        c->head[c->head_len] = 0;
        char *end = strstr(c->head, "\r\n\r\n");
        if (!end) {
            if (c->head_len == HEAD_MAX) drop(c);
            return;
        }
        size_t used = (size_t)(end + 4 - c->head) - before;
        p += used, len -= used;
        end[4] = 0;
        char *head = c->head;
        c->head = NULL;
        request(c, head);
        free(head);
    }
    if (c->dead || !len || c->mode == HTTP) return;
    frames(c, p, len);
    if (c->mode == SOURCE && !c->dead) pump_source(c);
}

static void writable(struct conn *c) {
    if (c->kept) {
        ssize_t sent = send(c->fd, c->kept + c->off, c->len - c->off, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN && errno != EINTR) drop(c);
            return;
        }
        c->off += (size_t)sent;
        if (c->off < c->len) return;
        free(c->kept);
        c->kept = NULL;
        watch(c, EPOLLIN);
    }
    if (c->body_left) pump_body(c);
    else if (c->mode == SOURCE) pump_source(c);
    else if (c->mode == CLOSING) shutdown(c->fd, SHUT_WR);
}

static void accept_all(int listener) {
    for (int i = 0; i < 256; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *c = calloc(1, sizeof *c);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        c->fd = fd;
        c->events = EPOLLIN;
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    }
}

static int send_heartbeats(void) {
    uint64_t now = now_ns();
    while (beats.after != &beats && beats.after->due <= now) {
        struct conn *c = beats.after;
        static const uint8_t ping[] = {0x89, 4, 'b', 'e', 'a', 't'};
        beat_off(c);
        beat_on(c, now);
        if (c->kept || c->r.in_payload) continue; /* never inside a frame */
        put(c, ping, sizeof ping);
    }
    return beats.after == &beats ? -1 : (int)((beats.after->due - now) / 1000000 + 1);
}

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: echo PORT [HEARTBEAT_MS]\n"), 2;
    if (argc > 2) heartbeat_ns = strtoull(argv[2], NULL, 10) * 1000000;
    in = (uint8_t *)malloc(ROOM + BUFFER) + ROOM;
    scratch = malloc(3 * 65536);
    pattern = make_pattern(NULL);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 4096) < 0) die("listen");
    socklen_t size = sizeof here;
    getsockname(listener, (struct sockaddr *)&here, &size);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);

    ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(ep, events, 512, heartbeat_ns ? send_heartbeats() : -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c) {
                accept_all(listener);
                continue;
            }
            if (!c->dead && events[i].events & EPOLLOUT) writable(c);
            if (!c->dead && c->events & EPOLLIN && events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) readable(c);
            else if (!c->dead && events[i].events & (EPOLLERR | EPOLLHUP)) drop(c);
        }
        while (n_graves) free(graves[--n_graves]);
    }
}
