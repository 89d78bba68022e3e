/* THE YARDSTICK: the least a relay can do. Bare epoll, recv + send, no parsing, no time-outs, no log.
 *
 *   relay LISTEN_PORT UPSTREAM_PORT [BUFFER_BYTES]
 *
 * Connects upstream at accept, so that the opening handshake is just bytes. One receive buffer shared by all connections; what a
 * send does not take is kept in a block of its own, and the source is not read until that block is gone. Binds 127.0.0.1; with
 * LISTEN_PORT 0 the kernel chooses. Prints the port.
 *
 * The buffer: 256 KiB. `python -m bench.buffer_sweep`: 16 KiB costs half as much again per GB, from 128 KiB to 4 MiB nothing is
 * gained beyond the noise, and small messages do not care.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct leg {
    int fd;
    uint32_t events;   /* what epoll watches now */
    struct leg *other;
    uint8_t *kept;     /* bytes for this leg that a send did not take */
    size_t off, len;
    int ended;         /* this leg sent its FIN */
    int dead;          /* closed within this batch of events */
};

static int ep;
static uint8_t *buffer;
static size_t buffer_size = 256 * 1024;
static struct leg *graves[4096];
static int n_graves;

static void watch(struct leg *l, uint32_t events) {
    if (l->events == events) return;
    struct epoll_event e = {.events = events, .data.ptr = l};
    epoll_ctl(ep, l->events == UINT32_MAX ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, l->fd, &e);
    l->events = events;
}

static void rewatch(struct leg *l) {
    watch(l, (l->ended || l->other->kept ? 0 : EPOLLIN) | (l->kept ? EPOLLOUT : 0));
}

static void drop(struct leg *l) {
    struct leg *pair[2] = {l, l->other};
    for (int i = 0; i < 2; i++) {
        if (pair[i]->dead) continue;
        pair[i]->dead = 1;
        close(pair[i]->fd);
        free(pair[i]->kept);
        pair[i]->kept = NULL;
        graves[n_graves++] = pair[i]; /* freed after the batch: a later event of it may still name the leg */
    }
}

static void finish_if_done(struct leg *l) {
    if (l->ended && l->other->ended && !l->kept && !l->other->kept) drop(l);
}

static void readable(struct leg *l) {
    struct leg *to = l->other;
    ssize_t n = recv(l->fd, buffer, buffer_size, 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) drop(l);
        return;
    }
    if (n == 0) {
        l->ended = 1;
        shutdown(to->fd, SHUT_WR);
        rewatch(l);
        finish_if_done(l);
        return;
    }
    ssize_t sent = send(to->fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ENOTCONN) {
            drop(l);
            return;
        }
        sent = 0;
    }
    if (sent < n) {
        to->kept = malloc((size_t)(n - sent));
        memcpy(to->kept, buffer + sent, (size_t)(n - sent));
        to->off = 0;
        to->len = (size_t)(n - sent);
        rewatch(l);
        rewatch(to);
    }
}

static void writable(struct leg *l) {
    ssize_t sent = send(l->fd, l->kept + l->off, l->len - l->off, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ENOTCONN) drop(l);
        return;
    }
    l->off += (size_t)sent;
    if (l->off < l->len) return;
    free(l->kept);
    l->kept = NULL;
    rewatch(l);
    rewatch(l->other);
    finish_if_done(l);
}

static struct leg *new_leg(int fd) {
    struct leg *l = calloc(1, sizeof *l);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    l->fd = fd;
    l->events = UINT32_MAX;
    return l;
}

static void accept_all(int listener, const struct sockaddr_in *upstream) {
    for (int i = 0; i < 64; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        int up = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (up < 0 || (connect(up, (const struct sockaddr *)upstream, sizeof *upstream) < 0 && errno != EINPROGRESS)) {
            close(fd);
            if (up >= 0) close(up);
            continue;
        }
        struct leg *a = new_leg(fd), *b = new_leg(up);
        a->other = b, b->other = a;
        watch(a, EPOLLIN);
        watch(b, EPOLLIN);
    }
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_PORT [BUFFER_BYTES]\n"), 2;
    if (argc > 3) buffer_size = (size_t)atol(argv[3]);
    buffer = malloc(buffer_size);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in upstream = here;
    upstream.sin_port = htons((uint16_t)atoi(argv[2]));
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 4096) < 0) return perror("listen"), 1;
    socklen_t size = sizeof here;
    getsockname(listener, (struct sockaddr *)&here, &size);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);

    ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(ep, events, 512, -1);
        for (int i = 0; i < n; i++) {
            struct leg *l = events[i].data.ptr;
            if (!l) {
                accept_all(listener, &upstream);
                continue;
            }
            uint32_t got = events[i].events;
            if (!l->dead && l->kept && got & (EPOLLOUT | EPOLLERR | EPOLLHUP)) writable(l);
            if (!l->dead && l->events & EPOLLIN && got & (EPOLLIN | EPOLLERR | EPOLLHUP)) readable(l);
            else if (!l->dead && got & (EPOLLERR | EPOLLHUP) && !(l->events & (EPOLLIN | EPOLLOUT))) drop(l);
        }
        while (n_graves) free(graves[--n_graves]);
    }
}
