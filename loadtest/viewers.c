/* Many viewers of a hub in one cheap process: they connect, count what comes, and note how old it is.
 *
 * loadtest/crowd.py starts it and says what to do, in lines on stdin; loadtest/viewers.py speaks the
 * same lines where there is no compiler, and says what they mean. Frames are told apart by their
 * length; of a text only the `op` is looked at, and its `t_ns` when times are asked for.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { GROUPS_MAX = 256, EVENTS = 512, READ_BYTES = 1 << 18, KEPT_MAX = 1 << 24 };
enum { LINE_BYTES = 1 << 14, SAMPLES_MAX = 20 * 1000 * 1000, TEXT_BYTES = 200, TELL_NS = 250000000 };
enum state { WAITING, CONNECTING, UPGRADING, OPEN, JOINED, GONE };

struct viewer {
    const char *path, *token;
    char *kept;           /* of what came in: an unfinished head or frame */
    uint32_t kept_bytes;
    int fd;
    short state, group;
};

static struct viewer *viewers;
static int count, space, next, opening, opening_max = 64, joins = 1, sources, source_next, poller;
static char **tokens, host[300] = "localhost", trouble[TEXT_BYTES];
static int token_count;
static struct sockaddr_in target = {.sin_family = AF_INET}, source = {.sin_family = AF_INET};
static uint64_t received[GROUPS_MAX], wanted[GROUPS_MAX], bytes_in, missed;
static int joined, failed, gone, connecting, timing;
static uint64_t begun_ns, told_ns;
static uint32_t *samples; /* ages of events, in units of 100 ns */
static size_t sampled, sample_space;
static char *inbox;
static size_t inbox_bytes;

static void fail(const char *what) { perror(what); exit(1); }
static void *need(void *memory) { if (memory == NULL) fail("memory"); return memory; }

static uint64_t clock_of(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void say(const char *form, ...)
{
    va_list words;
    va_start(words, form);
    vprintf(form, words);
    va_end(words);
    putchar('\n');
    fflush(stdout);
}

/* The first thing that went wrong, as text that JSON can hold. */
static void note_trouble(const char *text, size_t size)
{
    if (trouble[0]) return;
    for (size_t i = 0; i < size && i < TEXT_BYTES - 1; i++)
        trouble[i] = text[i] < ' ' || text[i] > '~' ? ' ' : strchr("\"\\", text[i]) ? '\'' : text[i];
}

/* -- one connection ----------------------------------------------------------------------------- */

static void lose(struct viewer *one)
{
    if (one->state == JOINED) gone++;
    else { opening--; failed++; }
    close(one->fd);
    free(one->kept);
    one->kept = NULL;
    one->kept_bytes = 0;
    one->state = GONE;
}

static void start(struct viewer *one)
{
    int on = 1;
    one->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (one->fd < 0) fail("socket (the limit of open files?)");
    one->state = CONNECTING;
    opening++;
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (sources > 0) { /* the ports of one address would not do for tens of thousands */
        struct sockaddr_in mine = source;
        mine.sin_addr.s_addr = htonl(ntohl(source.sin_addr.s_addr) + (uint32_t)(source_next++ % sources));
        setsockopt(one->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(one->fd, (struct sockaddr *)&mine, sizeof mine) < 0) fail("bind");
    }
    if (connect(one->fd, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS) {
        note_trouble(strerror(errno), strlen(strerror(errno)));
        lose(one);
        return;
    }
    struct epoll_event wish = {.events = EPOLLOUT, .data.ptr = one};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, one->fd, &wish) < 0) fail("epoll_ctl");
}

static void upgrade(struct viewer *one)
{
    char head[8192];
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(one->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        note_trouble(strerror(error), strlen(strerror(error)));
        lose(one);
        return;
    }
    int length = snprintf(head, sizeof head,
        "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "%s%s%s\r\n", one->path, host, one->token ? "Authorization: Bearer " : "",
        one->token ? one->token : "", one->token ? "\r\n" : "");
    if (length >= (int)sizeof head) { errno = EMSGSIZE; fail("token"); }
    if (send(one->fd, head, (size_t)length, MSG_NOSIGNAL) != length) { lose(one); return; }
    one->state = UPGRADING;
    struct epoll_event wish = {.events = EPOLLIN, .data.ptr = one};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, one->fd, &wish) < 0) fail("epoll_ctl");
}

/* The answer to a ping, masked with zeros, which leaves its text as it is. */
static void pong(struct viewer *one, const char *text, size_t size)
{
    char frame[6 + 125] = {(char)0x8a, (char)(0x80 | size)};
    if (size > 125) return;
    memcpy(frame + 6, text, size);
    if (send(one->fd, frame, 6 + size, MSG_NOSIGNAL) < 0) return; /* the reading side notices */
}

/* -- what comes in ------------------------------------------------------------------------------ */

static void note_age(const char *text, size_t size)
{
    const char *found = memmem(text, size, "\"t_ns\":", 7);
    if (found == NULL) return;
    /* The text ends with a brace, never within the number. */
    uint64_t then = strtoull(found + 7, NULL, 10), now = clock_of(CLOCK_MONOTONIC);
    if (sampled == sample_space) {
        if (sample_space >= SAMPLES_MAX) return;
        sample_space = sample_space ? 2 * sample_space : 65536;
        samples = need(realloc(samples, sample_space * sizeof *samples));
    }
    uint64_t age = now > then ? (now - then) / 100 : 0;
    samples[sampled++] = age > UINT32_MAX ? UINT32_MAX : (uint32_t)age;
}

static void arrive(struct viewer *one)
{
    one->state = JOINED;
    opening--;
    joined++;
}

static void heard(struct viewer *one, const char *text, size_t size)
{
    const char *op = size > 24 && memcmp(text, "{\"op\":\"", 7) == 0 ? text + 7 : "";
    if (memcmp(op, "event\"", 6) == 0) {
        uint64_t now = ++received[one->group];
        if (timing) note_age(text, size);
        if (now == wanted[one->group]) say("{\"reached\":%d}", one->group);
    } else if (memcmp(op, "joined\"", 7) == 0 && one->state == OPEN) arrive(one);
    else if (memcmp(op, "error\"", 6) == 0) note_trouble(text, size);
    else if (memcmp(op, "lagged\"", 7) == 0) {
        const char *number = memmem(text, size, "\"missed\":", 9);
        missed += number ? strtoull(number + 9, NULL, 10) : 1;
    }
}

/* How many bytes of `data` the first frame takes, 0 when it is not whole; where its text is. */
static size_t frame_at(const char *data, size_t size, const char **text, size_t *length)
{
    const unsigned char *head = (const unsigned char *)data;
    size_t head_bytes = 2;
    if (size < 2) return 0;
    *length = head[1] & 0x7f;
    if (*length >= 126) {
        head_bytes = *length == 126 ? 4 : 10;
        if (size < head_bytes) return 0;
        *length = 0;
        for (size_t i = 2; i < head_bytes; i++) *length = *length << 8 | head[i];
    }
    *text = data + head_bytes;
    return size - head_bytes < *length ? 0 : head_bytes + *length;
}

/* How many bytes of `data` are done with; -1 when the connection is over. */
static long take(struct viewer *one, const char *data, size_t size)
{
    size_t used = 0, took, length;
    const char *text;
    if (one->state == UPGRADING) {
        const char *end = memmem(data, size, "\r\n\r\n", 4);
        if (end == NULL) return 0;
        if (memcmp(data, "HTTP/1.1 101", 12) != 0) { note_trouble(data, size); return -1; }
        used = (size_t)(end + 4 - data);
        one->state = OPEN;
        if (!joins) arrive(one);
    }
    while ((took = frame_at(data + used, size - used, &text, &length)) > 0) {
        int opcode = data[used] & 0x0f;
        if (opcode == 1) heard(one, text, length);
        else if (opcode == 9) pong(one, text, length);
        else if (opcode == 8) {
            if (length > 2) note_trouble(text + 2, length - 2);
            return -1;
        }
        used += took;
    }
    return (long)used;
}

static void readable(struct viewer *one)
{
    size_t size = one->kept_bytes;
    if (size > KEPT_MAX) { note_trouble("a message without end", 21); lose(one); return; }
    if (size + READ_BYTES > inbox_bytes) {
        inbox_bytes = size + READ_BYTES;
        inbox = need(realloc(inbox, inbox_bytes));
    }
    if (size) memcpy(inbox, one->kept, size);
    ssize_t got = recv(one->fd, inbox + size, READ_BYTES, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) { lose(one); return; }
    bytes_in += (uint64_t)got;
    size += (size_t)got;
    long used = take(one, inbox, size);
    if (used < 0) { lose(one); return; }
    free(one->kept);
    one->kept = NULL;
    one->kept_bytes = (uint32_t)(size - (size_t)used);
    if (one->kept_bytes) {
        one->kept = need(malloc(one->kept_bytes));
        memcpy(one->kept, inbox + used, one->kept_bytes);
    }
}

/* -- what is asked ------------------------------------------------------------------------------ */

static void add_room(const char *path, int members, int group)
{
    path = need(strdup(path));
    for (int i = 0; i < members; i++) {
        if (count == space) { /* only before `connect`: epoll keeps pointers into this */
            space = space ? 2 * space : 1024;
            viewers = need(realloc(viewers, sizeof *viewers * (size_t)space));
        }
        const char *token = token_count ? tokens[count % token_count] : NULL;
        viewers[count++] = (struct viewer){.path = path, .token = token, .fd = -1, .group = (short)group};
    }
}

static int by_age(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static void report(void)
{
    static const double SHARES[] = {0, 1, 5, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 99.95, 99.99, 100};
    uint64_t events = 0;
    for (int i = 0; i < GROUPS_MAX; i++) events += received[i];
    printf("{\"received\":%llu,\"bytes\":%llu,\"missed\":%llu,\"joined\":%d,\"failed\":%d,\"gone\":%d,"
           "\"cpu_s\":%.6f,\"trouble\":\"%s\",\"samples\":%zu,\"ages_ms\":[",
           (unsigned long long)events, (unsigned long long)bytes_in, (unsigned long long)missed, joined,
           failed, gone, (double)clock_of(CLOCK_PROCESS_CPUTIME_ID) / 1e9, trouble, sampled);
    if (sampled) qsort(samples, sampled, sizeof *samples, by_age);
    for (size_t i = 0; sampled && i < sizeof SHARES / sizeof *SHARES; i++) {
        size_t rank = (size_t)(SHARES[i] / 100 * (double)sampled + 0.999999999); /* nearest rank */
        rank = rank < 1 ? 1 : rank > sampled ? sampled : rank;
        printf("%s[%g,%.4f]", i ? "," : "", SHARES[i], samples[rank - 1] / 1e4);
    }
    say("]}");
}

static void obey(char *line)
{
    char word[32] = "", text[LINE_BYTES] = "";
    int a = 0, b = 0;
    unsigned long long number = 0;
    sscanf(line, "%31s", word);
    if (!strcmp(word, "to") && sscanf(line, "to %s %d", text, &a) == 2) {
        target.sin_port = htons((uint16_t)a);
        if (inet_pton(AF_INET, text, &target.sin_addr) != 1) fail("to");
    } else if (!strcmp(word, "host")) sscanf(line, "host %299s", host);
    else if (!strcmp(word, "from") && sscanf(line, "from %s %d", text, &sources) == 2) {
        if (inet_pton(AF_INET, text, &source.sin_addr) != 1) fail("from");
    } else if (!strcmp(word, "opening")) sscanf(line, "opening %d", &opening_max);
    else if (!strcmp(word, "joins")) sscanf(line, "joins %d", &joins);
    else if (!strcmp(word, "token") && sscanf(line, "token %s", text) == 1) {
        tokens = need(realloc(tokens, sizeof *tokens * (size_t)(token_count + 1)));
        tokens[token_count++] = need(strdup(text));
    } else if (!strcmp(word, "room") && sscanf(line, "room %s %d %d", text, &a, &b) == 3)
        add_room(text, a, b % GROUPS_MAX);
    else if (!strcmp(word, "connect")) {
        connecting = 1;
        begun_ns = told_ns = clock_of(CLOCK_MONOTONIC);
    } else if (!strcmp(word, "want") && sscanf(line, "want %d %llu", &a, &number) == 2) {
        wanted[a % GROUPS_MAX] = number;
        if (received[a % GROUPS_MAX] >= number) say("{\"reached\":%d}", a % GROUPS_MAX);
    } else if (!strcmp(word, "reset")) {
        sscanf(line, "reset %d", &timing);
        memset(received, 0, sizeof received);
        memset(wanted, 0, sizeof wanted);
        bytes_in = missed = sampled = 0;
        say("{\"ready\":true}");
    } else if (!strcmp(word, "report")) report();
    else if (!strcmp(word, "close")) {
        for (int i = 0; i < count; i++)
            if (viewers[i].state != WAITING && viewers[i].state != GONE) lose(&viewers[i]);
        count = next = opening = joined = failed = gone = 0;
        say("{\"ready\":true}");
    } else { fprintf(stderr, "what is %s?\n", word); exit(2); }
}

static void listen_to_owner(void)
{
    static char lines[2 * LINE_BYTES];
    static size_t held;
    ssize_t got = read(0, lines + held, sizeof lines - 1 - held);
    if (got <= 0) exit(0); /* nobody needs us any more */
    held += (size_t)got;
    lines[held] = 0;
    char *line = lines, *end;
    while ((end = strchr(line, '\n')) != NULL) {
        *end = 0;
        obey(line);
        line = end + 1;
    }
    held -= (size_t)(line - lines);
    memmove(lines, line, held);
    if (held == sizeof lines - 1) { fprintf(stderr, "a line is too long\n"); exit(2); }
}

static void go_on_connecting(void)
{
    while (next < count && opening < opening_max) start(&viewers[next++]);
    uint64_t now = clock_of(CLOCK_MONOTONIC);
    if (next == count && opening == 0) {
        connecting = 0;
        say("{\"joined\":%d,\"failed\":%d,\"seconds\":%.6f,\"trouble\":\"%s\"}", joined, failed,
            (double)(now - begun_ns) / 1e9, trouble);
    } else if (now - told_ns > TELL_NS) {
        told_ns = now;
        say("{\"joining\":%d}", joined);
    }
}

int main(void)
{
    struct epoll_event ready[EVENTS], wish = {.events = EPOLLIN, .data.ptr = NULL};
    struct rlimit files;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &wish) < 0) fail("stdin");
    for (;;) {
        if (connecting) go_on_connecting();
        int found = epoll_wait(poller, ready, EVENTS, connecting ? 250 : -1);
        for (int i = 0; i < found; i++) {
            struct viewer *one = ready[i].data.ptr;
            if (one == NULL) listen_to_owner();
            else if (one->state == CONNECTING) upgrade(one);
            else if (one->state > CONNECTING && one->state < GONE) readable(one);
        }
    }
}
