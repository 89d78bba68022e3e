/* The load generator: WebSocket sessions and HTTP requests against one address, driven by commands on standard input.
 *
 *   load HOST:PORT
 *
 * Each line on stdin is a command with `name=value` words; each answer is one line of JSON on stdout. The driver reads the
 * processor clocks of the proxy before a command and after its answer: nothing of a command is still in flight when it answers.
 *
 *   open n=50 [path=/echo] [conc=16] [spread=1]     opens n more sessions; handshake latency. spread: a source address each
 *   run size=64 flight=1 seconds=1 | messages=N [active=N]
 *                                                   closed loop: every session keeps `flight` masked messages in the air
 *   paced size=64 rate=1000 seconds=1               open loop, exponential gaps; latency from the scheduled moment
 *   ask count=4096 size=262144 [sessions=1]         /source sessions: one request each, `count` messages of `size` back
 *   ask size=262144 endless=1                       the same without an end: see below
 *   mix seconds=1 [plot=2097152]                    /source sessions: the notebook mix (see notebook_ask)
 *   idle seconds=20                                 hold; answers pings as a browser does, counts them
 *   storm [seconds=30]                              drops every session at once, reconnects all at once
 *   refused seconds=1 | count=N [conc=8] [path=]    connect, upgrade, expect Close; counts codes
 *   http path=/x seconds=1 | count=N [conns=8]      keep-alive GETs; with count=1 path=/large?bytes=N, a download, which endless=1
 *                                                   gives up at the next command
 *   close | drop                                    closing handshake with every session | just close the sockets
 *
 * An endless command is a neighbour of what another generator measures. It answers when its first bytes have come, goes on until
 * the next command is there or it fails, and answers again; its connections are closed under whatever is on its way.
 *
 * Every echoed or sourced byte is compared with what was sent. Message i of a session begins with its number.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ws.h"

#define BUFFER (512 * 1024)
#define MAX_SESSIONS 19500
#define FLIGHT 64

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { FREE, CONNECTING, SHAKING, OPEN, CLOSING };

struct session {
    int fd, state;
    uint32_t events;
    struct reader r;
    uint8_t control[125];
    uint8_t pong[2 * 131]; /* control frames waiting for the end of a data frame */
    size_t pong_len;
    char *head;
    size_t head_len;
    uint64_t sent, got, to_send;  /* messages: begun or done, answered, wanted */
    uint64_t tx_off;              /* offset in message number `sent`, header included */
    uint64_t stamp[FLIGHT];       /* when message i went out (or should have), at i % FLIGHT */
    uint32_t owed[FLIGHT];        /* /source: messages owed for request i */
    uint32_t ask_count[FLIGHT], ask_size[FLIGHT];
    uint32_t owed_size;
    uint64_t began;
};

static struct session *sessions[MAX_SESSIONS];
static int n_sessions;
static struct sockaddr_in target;
static char authority[64];
static int ep;
static uint8_t *in, *plain, *masked, *scratch;
static const uint8_t MASK[4] = {0x37, 0xfa, 0x21, 0x3d};
static uint32_t spread_next = 0;

/* What the current command is about. */
static struct {
    enum { IDLE, LOOP, PACED, MIX, ASK, HANDSHAKE, REFUSED } what;
    uint64_t size, flight, deadline, limit, issued, answered, bytes;
    int open_now, failed, bad, lost, spread, conc, wanted, started;
    uint64_t pings, pongs, closes, codes_1013, codes_other, plain_http, status[6];
    uint64_t rng, plot, pushed;
    char path[256];
} run;

/* ---- latency: 128 buckets an octave, under 1 % error ------------------------------------------------------------- */

#define OCTAVES 40
static uint64_t histogram[OCTAVES * 128], hist_n, hist_max;
static double hist_sum;

static void record(uint64_t ns) {
    if (ns > hist_max) hist_max = ns;
    hist_sum += (double)ns;
    hist_n++;
    if (ns < 128) {
        histogram[ns]++;
        return;
    }
    int octave = 63 - __builtin_clzll(ns) - 7;
    size_t i = (size_t)(octave + 1) * 128 + ((ns >> octave) & 127);
    histogram[MIN(i, OCTAVES * 128 - 1)]++;
}

static double bucket_at(double p) {
    uint64_t want = (uint64_t)ceil(p / 100 * (double)hist_n), seen = 0;
    for (size_t i = 0; i < OCTAVES * 128; i++) {
        seen += histogram[i];
        if (seen >= want && seen) {
            if (i < 128) return (double)i;
            int octave = (int)(i / 128) - 1;
            return (double)((128 + i % 128) << octave) + (double)(1ull << octave) / 2;
        }
    }
    return 0;
}

static double percentile(double p) {
    double middle = bucket_at(p);
    return middle > (double)hist_max ? (double)hist_max : middle; /* the middle of the last bucket may lie above its only sample */
}

static void reset_histogram(void) {
    memset(histogram, 0, sizeof histogram);
    hist_n = hist_max = 0;
    hist_sum = 0;
}

static void print_latency(void) {
    printf("\"latency_us\": {\"n\": %llu, \"mean\": %.3f, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"p999\": %.3f, \"max\": %.3f}",
           (unsigned long long)hist_n, hist_n ? hist_sum / (double)hist_n / 1e3 : 0, percentile(50) / 1e3, percentile(90) / 1e3, percentile(99) / 1e3,
           percentile(99.9) / 1e3, (double)hist_max / 1e3);
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

static void watch(struct session *s, uint32_t events) {
    if (s->events == events) return;
    struct epoll_event e = {.events = events, .data.ptr = s};
    epoll_ctl(ep, s->events == UINT32_MAX ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, s->fd, &e);
    s->events = events;
}

static int dial(int spread) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (spread) { /* 127.16.0.1 …: every session a client of its own */
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f100001u + spread_next++ % 0xe00000u)};
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0) die("bind");
    }
    if (connect(fd, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static void begin(struct session *s) {
    char *head = s->head;
    memset(s, 0, sizeof *s);
    free(head);
    s->began = now_ns();
    s->fd = dial(run.spread);
    s->events = UINT32_MAX;
    run.started++;
    if (s->fd < 0) {
        s->state = FREE;
        run.failed++;
        return;
    }
    s->state = CONNECTING;
    watch(s, EPOLLOUT);
}

static void end(struct session *s) {
    if (s->state == FREE) return;
    close(s->fd);
    free(s->head);
    s->head = NULL;
    s->state = FREE;
}

static void send_upgrade(struct session *s) {
    char text[1024];
    int n = snprintf(text, sizeof text, /* what a browser sends */
                     "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n"
                     "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n"
                     "Upgrade: websocket\r\nOrigin: http://%s\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
                     "Accept-Language: en-GB,en;q=0.9\r\nCookie: _xsrf=2|a1b2c3d4|0123456789abcdef0123456789abcdef|1700000000\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
                     run.path, authority, authority);
    if (send(s->fd, text, (size_t)n, MSG_NOSIGNAL) != n) {
        run.failed++;
        end(s);
        return;
    }
    s->state = SHAKING;
    watch(s, EPOLLIN);
}

static void send_control(struct session *s, int opcode, const uint8_t *data, size_t n) {
    uint8_t frame[131];
    size_t h = write_header(frame, opcode, n, MASK);
    for (size_t i = 0; i < n; i++) frame[h + i] = data[i] ^ MASK[i & 3];
    if (s->tx_off) { /* inside a data frame: after it */
        if (s->pong_len + h + n <= sizeof s->pong) {
            memcpy(s->pong + s->pong_len, frame, h + n);
            s->pong_len += h + n;
        }
        return;
    }
    if (send(s->fd, frame, h + n, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET) run.lost++;
}

/* The notebook mix, by weight: a keystroke that echoes (70 %), a cell that prints twelve lines (27 %), a burst of four larger
 * outputs (2.9 %), and one plot of 2 MiB in a thousand. */
static void notebook_ask(uint32_t *count, uint32_t *size) {
    uint64_t x = xorshift(&run.rng) % 1000;
    if (x < 700) *count = 1, *size = 80;
    else if (x < 970) *count = 12, *size = 400;
    else if (x < 999) *count = 4, *size = 1500;
    else *count = 1, *size = (uint32_t)run.plot;
}

/* Sends what is wanted and fits. */
static void pump(struct session *s, uint64_t now) {
    uint8_t header[14];
    size_t h = write_header(header, BINARY, run.size, MASK), seq = (size_t)MIN(run.size, 8);
    uint64_t frame = h + run.size;
    int asks = run.what == MIX || run.what == ASK;
    while (s->to_send > s->sent) {
        struct iovec v[2];
        int n_v = 0;
        size_t total = 0, n = 0;
        uint64_t at = s->tx_off, number = s->sent;
        while (number < s->to_send && n + h + seq <= 65536 && (n == 0 || frame <= 16384)) {
            size_t front = h + seq;
            if (at == 0 && run.what != PACED) s->stamp[number % FLIGHT] = now;
            if (at < front) {
                uint8_t start[22];
                memcpy(start, header, h);
                uint64_t tag = asks ? (uint64_t)s->ask_size[number % FLIGHT] << 32 | s->ask_count[number % FLIGHT] : number;
                memcpy(start + h, &tag, seq);
                for (size_t i = 0; i < seq; i++) start[h + i] ^= MASK[i & 3];
                memcpy(scratch + n, start + at, front - at);
                n += front - at;
                at = front;
            }
            if (frame > 16384) break; /* its body goes straight from the pattern */
            memcpy(scratch + n, masked + (at - h) % PERIOD, frame - at);
            n += frame - at;
            at = 0;
            number++;
        }
        if (n) v[n_v++] = (struct iovec){scratch, n}, total += n;
        if (frame > 16384) {
            size_t m = (size_t)MIN(frame - at, SPAN);
            v[n_v++] = (struct iovec){masked + (at - h) % PERIOD, m};
            total += m;
        }
        struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)n_v};
        ssize_t sent = sendmsg(s->fd, &m, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN && errno != EINTR) run.lost++, end(s);
            break;
        }
        uint64_t to = s->tx_off + (uint64_t)sent;
        s->sent += to / frame;
        s->tx_off = to % frame;
        if ((size_t)sent < total) break;
    }
    if (s->state == FREE) return;
    if (!s->tx_off && s->pong_len) {
        if (send(s->fd, s->pong, s->pong_len, MSG_NOSIGNAL) < 0) run.lost++;
        s->pong_len = 0;
    }
    watch(s, EPOLLIN | (s->to_send > s->sent ? EPOLLOUT : 0));
}

static void want_next(struct session *s, uint64_t now) {
    if (run.what == LOOP || run.what == MIX) {
        if ((run.deadline && now >= run.deadline) || (run.limit && run.issued >= run.limit)) return;
        if (run.what == MIX) {
            uint64_t i = s->to_send % FLIGHT;
            notebook_ask(&s->ask_count[i], &s->ask_size[i]);
        }
        s->to_send++;
        run.issued++;
    }
}

static void answered(struct session *s, uint64_t now) {
    record(now - s->stamp[s->got % FLIGHT]);
    s->got++;
    run.answered++;
    want_next(s, now);
}

/* Compares payload with what it must be. */
static void check(struct session *s, const uint8_t *p, size_t n, uint64_t offset, uint64_t size) {
    if (run.what == LOOP || run.what == PACED) {
        if (size != run.size) run.bad++;
        if (offset < 8) {
            uint64_t number = s->got;
            size_t m = MIN(n, (size_t)(MIN(size, 8) - offset));
            if (memcmp(p, (uint8_t *)&number + offset, m)) run.bad++;
            p += m, n -= m, offset += m;
        }
    }
    while (n) {
        size_t m = MIN(n, SPAN);
        if (memcmp(p, plain + offset % PERIOD, m)) run.bad++;
        p += m, n -= m, offset += m;
    }
}

static void frames(struct session *s, const uint8_t *p, size_t n, uint64_t now) {
    struct reader *r = &s->r;
    while (n) {
        if (!r->in_payload) {
            size_t used = read_header(r, p, n);
            p += used, n -= used;
            if (!r->in_payload) return;
        }
        size_t m = (size_t)MIN(r->left, n);
        uint64_t offset = r->size - r->left;
        if (r->opcode >= 8 && r->size > sizeof s->control) { /* no control frame: the proxy garbled something */
            run.bad++;
            run.lost++;
            end(s);
            return;
        }
        if (r->opcode >= 8) memcpy(s->control + offset, p, m);
        else check(s, p, m, offset, r->size);
        p += m, n -= m;
        r->left -= m;
        if (r->left) return;
        r->in_payload = 0;
        if (r->opcode == PING) {
            run.pings++;
            send_control(s, PONG, s->control, (size_t)r->size);
        } else if (r->opcode == PONG) {
            run.pongs++;
        } else if (r->opcode == CLOSE) {
            int code = r->size >= 2 ? s->control[0] << 8 | s->control[1] : 1005;
            run.closes++;
            if (code == 1013) run.codes_1013++;
            else run.codes_other++;
            if (s->state == OPEN) {
                send_control(s, CLOSE, s->control, (size_t)MIN(r->size, 2));
                s->state = CLOSING;
            }
        } else if (run.what == MIX || run.what == ASK) {
            run.bytes += r->size;
            run.pushed++;
            uint64_t i = s->got % FLIGHT;
            if (r->size != s->ask_size[i]) run.bad++;
            if (++s->owed[i] == s->ask_count[i]) {
                s->owed[i] = 0;
                answered(s, now);
            }
        } else if (run.what == LOOP || run.what == PACED) {
            answered(s, now);
        }
    }
}

static void opened(struct session *s) {
    s->state = OPEN;
    run.open_now++;
    record(now_ns() - s->began);
}

static void readable(struct session *s) {
    ssize_t n = recv(s->fd, in, BUFFER, 0);
    uint64_t now = now_ns();
    if (n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (s->state == SHAKING || s->state == CONNECTING) run.failed++;
        else if (s->state == OPEN) run.lost++;
        end(s);
        return;
    }
    uint8_t *p = in;
    if (s->state == SHAKING) {
        s->head = realloc(s->head, s->head_len + (size_t)n + 1);
        memcpy(s->head + s->head_len, in, (size_t)n);
        s->head_len += (size_t)n;
        s->head[s->head_len] = 0;
        char *stop = strstr(s->head, "\r\n\r\n");
        if (!stop) return;
        int code = s->head_len > 12 ? atoi(s->head + 9) : 0;
        if (code >= 100 && code < 600) run.status[code / 100]++;
        if (code != 101 || !strstr(s->head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) {
            run.failed++;
            end(s);
            return;
        }
        size_t rest = s->head_len - (size_t)(stop + 4 - s->head);
        memmove(in, stop + 4, rest);
        free(s->head);
        s->head = NULL;
        opened(s);
        p = in, n = (ssize_t)rest;
    }
    frames(s, p, (size_t)n, now);
    if (s->state == OPEN && s->to_send > s->sent) pump(s, now);
}

static void turn(int timeout_ms) {
    struct epoll_event events[512];
    int n = epoll_wait(ep, events, 512, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct session *s = events[i].data.ptr;
        if (s->state == FREE) continue;
        if (s->state == CONNECTING && events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
            int error = 0;
            socklen_t size = sizeof error;
            getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
            if (error) run.failed++, end(s);
            else send_upgrade(s);
            continue;
        }
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) readable(s);
        if (s->state == OPEN && events[i].events & EPOLLOUT) pump(s, now_ns());
    }
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static char *line;

static double number_word(const char *name, double otherwise) {
    size_t n = strlen(name);
    for (char *p = line; (p = strstr(p, name)); p += n)
        if ((p == line || isspace((unsigned char)p[-1])) && p[n] == '=') return atof(p + n + 1);
    return otherwise;
}

static void text_word(const char *name, const char *otherwise, char *out, size_t size) {
    size_t n = strlen(name);
    snprintf(out, size, "%s", otherwise);
    for (char *p = line; (p = strstr(p, name)); p += n)
        if ((p == line || isspace((unsigned char)p[-1])) && p[n] == '=') {
            size_t len = strcspn(p + n + 1, " \n");
            snprintf(out, size, "%.*s", (int)len, p + n + 1);
            return;
        }
}

static void start(int what) {
    char path[256];
    memcpy(path, run.path, sizeof path);
    memset(&run, 0, sizeof run);
    memcpy(run.path, path, sizeof path);
    run.what = what;
    run.rng = 0x9E3779B97F4A7C15ull;
    run.size = (uint64_t)number_word("size", 64);
    run.flight = (uint64_t)number_word("flight", 1);
    run.limit = (uint64_t)number_word("messages", 0);
    run.plot = (uint64_t)number_word("plot", 2097152);
    run.conc = (int)number_word("conc", 16);
    run.spread = (int)number_word("spread", 0);
    double seconds = number_word("seconds", 0);
    run.deadline = seconds > 0 ? now_ns() + (uint64_t)(seconds * 1e9) : 0;
    if (run.flight > FLIGHT) run.flight = FLIGHT;
    reset_histogram();
    for (int i = 0; i < n_sessions; i++) sessions[i]->sent = sessions[i]->got = sessions[i]->to_send = 0;
}

static void finish(uint64_t began, const char *extra) {
    double wall = (double)(now_ns() - began) / 1e9;
    printf("{\"wall\": %.6f, \"answered\": %llu, \"sessions\": %d, \"failed\": %d, \"lost\": %d, \"bad\": %d, \"bytes\": %llu, \"pushed\": %llu, "
           "\"pings\": %llu, \"pongs\": %llu, \"closes\": %llu, \"close_1013\": %llu, \"close_other\": %llu, %s",
           wall, (unsigned long long)run.answered, n_sessions, run.failed, run.lost, run.bad, (unsigned long long)run.bytes,
           (unsigned long long)run.pushed, (unsigned long long)run.pings, (unsigned long long)run.pongs, (unsigned long long)run.closes, (unsigned long long)run.codes_1013,
           (unsigned long long)run.codes_other, extra);
    print_latency();
    printf("}\n");
    fflush(stdout);
}

static int pick_live(void) {
    int n = 0;
    for (int i = 0; i < n_sessions; i++) {
        if (sessions[i]->state == FREE) free(sessions[i]);
        else sessions[n++] = sessions[i];
    }
    return n_sessions = n;
}

/* Whether the next command is there, which ends an endless one. */
static int told(void) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, 0) > 0;
}

#define STALL (20 * 1000000000ull) /* no answer for so long ends a command, with what is missing counted as lost */

/* Runs until nothing is in flight. */
static void drain(void) {
    uint64_t last = now_ns(), progress = 0;
    while (run.issued > run.answered) {
        turn(100);
        uint64_t moved = run.pushed + run.answered;
        for (int i = 0; i < n_sessions; i += 64) moved += sessions[i]->tx_off + sessions[i]->r.left;
        if (moved != progress) last = now_ns(), progress = moved;
        if (now_ns() - last > STALL || (run.lost && now_ns() - last > STALL / 10)) {
            run.lost += (int)(run.issued - run.answered);
            break;
        }
    }
}

static void closed_loop(int what) {
    start(what);
    if (what == MIX) run.size = 64;
    uint64_t began = now_ns();
    int active = (int)number_word("active", n_sessions);
    for (int i = 0; i < MIN(active, n_sessions); i++) {
        struct session *s = sessions[i];
        for (uint64_t k = 0; k < run.flight; k++) want_next(s, began);
        if (s->to_send) pump(s, now_ns());
    }
    drain();
    finish(began, "");
    pick_live();
}

static void paced(void) {
    start(PACED);
    double gap = 1e9 / number_word("rate", 1000);
    uint64_t began = now_ns(), deadline = run.deadline;
    double due = (double)began;
    int next = 0, shed = 0;
    run.deadline = 0;
    /* All that was due is sent, however late: what a halt had left out would make the slowest look faster. */
    while (due < (double)deadline && n_sessions) {
        uint64_t now = now_ns();
        while (due <= (double)now && due < (double)deadline) {
            struct session *s = sessions[next++ % n_sessions];
            if (s->state == OPEN && s->to_send - s->got < FLIGHT) {
                s->stamp[s->to_send % FLIGHT] = (uint64_t)due;
                s->to_send++;
                run.issued++;
                pump(s, now);
            } else shed++;
            due += -log(1 - (double)(xorshift(&run.rng) >> 11) / 9007199254740992.0) * gap;
        }
        struct timespec wait = {0, 0};
        double ns = due - (double)now_ns();
        if (ns > 0) wait.tv_nsec = (long)MIN(ns, 100e6);
        struct epoll_event events[1];
        /* Sleep with nanoseconds; the events themselves are taken by turn(). */
        if (epoll_pwait2(ep, events, 1, &wait, NULL) > 0) turn(0);
    }
    drain();
    char extra[64];
    snprintf(extra, sizeof extra, "\"shed\": %d, ", shed);
    finish(began, extra);
    pick_live();
}

/* Moves messages until it is told to stop, or a session is lost. */
static void keep_going(uint64_t began) {
    int begun = 0;
    while (!run.lost && !told()) {
        turn(20);
        if (begun) continue;
        if (run.pushed) finish(began, ""), begun = 1;
        else if (now_ns() - began > STALL) run.lost++;
    }
    for (int i = 0; i < n_sessions; i++) end(sessions[i]);
}

static void ask(void) {
    start(ASK);
    uint64_t began = now_ns();
    int endless = (int)number_word("endless", 0);
    uint32_t count = endless ? UINT32_MAX : (uint32_t)number_word("count", 1), size = (uint32_t)number_word("size", 64);
    int some = (int)number_word("sessions", n_sessions);
    run.size = 64;
    for (int i = 0; i < MIN(some, n_sessions); i++) {
        struct session *s = sessions[i];
        s->ask_count[0] = count, s->ask_size[0] = size, s->owed[0] = 0;
        s->to_send++;
        run.issued++;
        pump(s, now_ns());
    }
    if (endless) keep_going(began);
    else drain();
    finish(began, "");
    pick_live();
}

/* Opens sessions up to run.wanted, at most run.conc handshakes at a time. */
static void shake_all(uint64_t deadline) {
    int first = n_sessions;
    uint64_t last = now_ns();
    int seen = -1;
    for (;;) {
        int pending = run.started - run.open_now - run.failed;
        while (run.started < run.wanted && pending < run.conc && n_sessions < MAX_SESSIONS) {
            struct session *s = calloc(1, sizeof *s);
            sessions[n_sessions++] = s;
            begin(s);
            pending = run.started - run.open_now - run.failed;
        }
        if (run.open_now + run.failed >= run.wanted || (deadline && now_ns() > deadline)) break;
        turn(100);
        if (run.open_now + run.failed != seen) seen = run.open_now + run.failed, last = now_ns();
        if (now_ns() - last > STALL) break;
    }
    for (int i = first; i < n_sessions; i++)
        if (sessions[i]->state == CONNECTING || sessions[i]->state == SHAKING) run.failed++, end(sessions[i]);
}

static void open_sessions(void) {
    start(HANDSHAKE);
    text_word("path", "/echo", run.path, sizeof run.path);
    run.wanted = (int)number_word("n", 1);
    uint64_t began = now_ns();
    shake_all(0);
    pick_live();
    char extra[64];
    snprintf(extra, sizeof extra, "\"opened\": %d, ", run.open_now);
    finish(began, extra);
}

static void close_all(int politely) {
    start(IDLE);
    uint64_t began = now_ns();
    for (int i = 0; i < n_sessions; i++) {
        struct session *s = sessions[i];
        if (politely && s->state == OPEN) {
            static const uint8_t normal[2] = {1000 >> 8, 1000 & 255};
            send_control(s, CLOSE, normal, 2);
            s->state = CLOSING;
        } else end(s);
    }
    for (uint64_t until = began + 5000000000ull; pick_live() && now_ns() < until;) turn(50);
    int left = n_sessions;
    for (int i = 0; i < n_sessions; i++) end(sessions[i]);
    pick_live();
    char extra[64];
    snprintf(extra, sizeof extra, "\"unanswered\": %d, ", left);
    finish(began, extra);
}

static void idle(void) {
    start(IDLE);
    uint64_t began = now_ns();
    while (now_ns() < run.deadline) turn(100);
    pick_live();
    finish(began, "");
}

static void storm(void) {
    int n = n_sessions;
    start(HANDSHAKE);
    uint64_t began = now_ns(), deadline = began + (uint64_t)(number_word("seconds", 30) * 1e9);
    for (int i = 0; i < n; i++) end(sessions[i]);
    pick_live();
    /* A browser whose attempt failed tries again; so does this, at once, until all are back. */
    int retries = 0;
    run.conc = n;
    while (now_ns() < deadline) {
        run.wanted = n;
        run.started = n_sessions;
        run.open_now = n_sessions;
        run.failed = 0;
        shake_all(deadline);
        pick_live();
        if (n_sessions >= n) break;
        retries += n - n_sessions;
    }
    char extra[64];
    snprintf(extra, sizeof extra, "\"back\": %d, \"retries\": %d, ", n_sessions, retries);
    finish(began, extra);
}

/* connect, upgrade, Close read and answered, socket closed; beside whatever sessions are open already. */
static void refused(void) {
    start(REFUSED);
    text_word("path", "/echo", run.path, sizeof run.path);
    uint64_t began = now_ns();
    double count = number_word("count", 0);
    uint64_t done = 0, last = began;
    int keep = n_sessions;
    for (;;) {
        uint64_t now = now_ns();
        int more = count > 0 ? done < (uint64_t)count : now < run.deadline;
        int live = 0;
        for (int i = keep; i < n_sessions; i++) {
            struct session *s = sessions[i];
            if (s->state == OPEN && now - s->began > 5000000000ull) end(s); /* admitted, or held: not a refusal */
            if (s->state == FREE && s->began) done++, s->began = 0, last = now;
            if (s->state == FREE && more) begin(s);
            live += s->state != FREE;
        }
        while (more && n_sessions < keep + run.conc) {
            struct session *s = calloc(1, sizeof *s);
            sessions[n_sessions++] = s;
            begin(s);
            live++;
        }
        if (!more && !live) break;
        if (now - last > STALL) break;
        turn(20);
    }
    for (int i = keep; i < n_sessions; i++) end(sessions[i]);
    pick_live();
    char extra[128];
    snprintf(extra, sizeof extra, "\"attempts\": %llu, \"status_101\": %llu, \"status_5xx\": %llu, ", (unsigned long long)done,
             (unsigned long long)run.status[1], (unsigned long long)run.status[5]);
    finish(began, extra);
}

/* ---- HTTP -------------------------------------------------------------------------------------------------------- */

struct fetch {
    int fd, busy, chunked, in_body, trailer;
    char head[16384];
    size_t head_len;
    uint64_t left, began;
    char chunk[20];
    size_t chunk_len;
    int chunk_state; /* 0 size line, 1 data, 2 CRLF after data */
};

static uint64_t http_done, http_failed, http_bytes;

/* Consumes body bytes; returns 1 when the response is whole. */
static int body(struct fetch *f, const char *p, size_t n, size_t *used) {
    size_t at = 0;
    if (!f->chunked) {
        at = (size_t)MIN(f->left, n);
        f->left -= at;
        http_bytes += at;
        *used = at;
        return f->left == 0;
    }
    while (at < n) {
        if (f->chunk_state == 1) {
            size_t m = (size_t)MIN(f->left, n - at);
            at += m;
            f->left -= m;
            http_bytes += m;
            if (!f->left) f->chunk_state = 2;
        } else {
            char c = p[at++];
            if (c != '\n') {
                if (c != '\r' && f->chunk_len < sizeof f->chunk - 1) f->chunk[f->chunk_len++] = c;
                continue;
            }
            f->chunk[f->chunk_len] = 0;
            if (f->chunk_state == 2) {
                f->chunk_state = 0;
            } else if (f->trailer) {
                if (!f->chunk_len) {
                    *used = at;
                    return 1;
                }
            } else {
                f->left = strtoull(f->chunk, NULL, 16);
                if (f->left) f->chunk_state = 1;
                else f->trailer = 1;
            }
            f->chunk_len = 0;
        }
    }
    *used = at;
    return 0;
}

static void finish_http(uint64_t began) {
    char extra[128];
    snprintf(extra, sizeof extra, "\"requests\": %llu, \"http_failed\": %llu, \"http_bytes\": %llu, ", (unsigned long long)http_done,
             (unsigned long long)http_failed, (unsigned long long)http_bytes);
    finish(began, extra);
}

static void http(void) {
    start(IDLE);
    char path[256], request[1024];
    text_word("path", "/", path, sizeof path);
    int endless = (int)number_word("endless", 0), begun = 0;
    int conns = (int)number_word("conns", 8), live = 0;
    uint64_t count = (uint64_t)number_word("count", 0), issued = 0, began = now_ns(), last = began;
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
                     "Chrome/140.0.0.0 Safari/537.36\r\nAccept: */*\r\nAccept-Language: en-GB,en;q=0.9\r\nReferer: http://%s/lab\r\n"
                     "Cookie: _xsrf=2|a1b2c3d4|0123456789abcdef0123456789abcdef|1700000000\r\n\r\n",
                     path, authority, authority);
    struct fetch *all = calloc((size_t)conns, sizeof *all);
    int hep = epoll_create1(EPOLL_CLOEXEC);
    http_done = http_failed = http_bytes = 0;
    for (int i = 0; i < conns; i++) all[i].fd = -1;
    for (;;) {
        uint64_t now = now_ns();
        int more = count ? issued < count : now < run.deadline;
        live = 0;
        for (int i = 0; i < conns; i++) {
            struct fetch *f = &all[i];
            if (!f->busy && more && (!count || issued < count)) {
                if (f->fd < 0) {
                    f->fd = dial(0);
                    if (f->fd < 0) {
                        http_failed++;
                        continue;
                    }
                    fcntl(f->fd, F_SETFL, fcntl(f->fd, F_GETFL) & ~O_NONBLOCK); /* connecting may block: loopback */
                    struct epoll_event e = {.events = EPOLLIN, .data.ptr = f};
                    epoll_ctl(hep, EPOLL_CTL_ADD, f->fd, &e);
                }
                f->began = now_ns();
                f->busy = 1, f->in_body = 0, f->head_len = 0, f->chunked = 0, f->chunk_len = 0, f->chunk_state = 0, f->trailer = 0;
                issued++;
                if (send(f->fd, request, (size_t)n, MSG_NOSIGNAL) != n) http_failed++, close(f->fd), f->fd = -1, f->busy = 0;
            }
            live += f->busy;
        }
        if ((!live && !more) || (endless && told())) break;
        if (endless && !begun && http_bytes) finish_http(began), begun = 1;
        if (now - last > STALL) {
            http_failed += (uint64_t)live;
            break;
        }
        struct epoll_event events[64];
        int got = epoll_wait(hep, events, 64, 50);
        for (int i = 0; i < got; i++) {
            struct fetch *f = events[i].data.ptr;
            ssize_t k = recv(f->fd, in, BUFFER, MSG_DONTWAIT);
            last = now_ns();
            if (k < 0 && errno == EAGAIN) continue;
            if (k <= 0) {
                if (f->busy) http_failed++;
                close(f->fd);
                f->fd = -1, f->busy = 0;
                continue;
            }
            char *p = (char *)in;
            size_t len = (size_t)k, used = 0;
            int done = 0;
            if (!f->in_body) {
                size_t room = MIN(sizeof f->head - 1 - f->head_len, len), before = f->head_len, flen;
                memcpy(f->head + before, p, room);
                f->head_len += room;
                f->head[f->head_len] = 0;
                char *stop = strstr(f->head, "\r\n\r\n");
                if (!stop) continue;
                const char *v = field(f->head, "content-length", &flen);
                f->left = v ? strtoull(v, NULL, 10) : 0;
                v = field(f->head, "transfer-encoding", &flen);
                f->chunked = v && strncasecmp(v, "chunked", 7) == 0;
                if (f->chunked) f->left = 0;
                f->in_body = 1;
                used = (size_t)(stop + 4 - f->head) - before;
                p += used, len -= used;
                if (atoi(f->head + 9) != 200) http_failed++;
                done = !f->chunked && !f->left;
            }
            if (!done && len) done = body(f, p, len, &used);
            if (done) {
                record(now_ns() - f->began);
                f->busy = 0;
                http_done++;
            }
        }
    }
    for (int i = 0; i < conns; i++)
        if (all[i].fd >= 0) close(all[i].fd);
    close(hep);
    free(all);
    finish_http(began);
}

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: load HOST:PORT\n"), 2;
    char host[64];
    int port;
    snprintf(authority, sizeof authority, "%s", argv[1]);
    if (sscanf(argv[1], "%63[^:]:%d", host, &port) != 2) return 2;
    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &target.sin_addr) != 1) return 2;
    setvbuf(stdin, NULL, _IONBF, 0); /* told() asks the kernel what has come */
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    ep = epoll_create1(EPOLL_CLOEXEC);
    in = malloc(BUFFER);
    scratch = malloc(65536 + 16384 + 64);
    plain = make_pattern(NULL);
    masked = make_pattern(MASK);
    snprintf(run.path, sizeof run.path, "/echo");

    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        if (!strncmp(line, "open", 4)) open_sessions();
        else if (!strncmp(line, "run", 3)) closed_loop(LOOP);
        else if (!strncmp(line, "paced", 5)) paced();
        else if (!strncmp(line, "mix", 3)) closed_loop(MIX);
        else if (!strncmp(line, "ask", 3)) ask();
        else if (!strncmp(line, "idle", 4)) idle();
        else if (!strncmp(line, "storm", 5)) storm();
        else if (!strncmp(line, "refused", 7)) refused();
        else if (!strncmp(line, "http", 4)) http();
        else if (!strncmp(line, "close", 5)) close_all(1);
        else if (!strncmp(line, "drop", 4)) close_all(0);
        else printf("{\"error\": \"unknown command\"}\n"), fflush(stdout);
    }
    return 0;
}
