/* Clients of a chat server: each of N connections asks, reads the answer whole, and asks again. A few us a request.
 *
 *   load --port P --head FILE --message JSON --tail TEXT --connections N --seconds S --requests MOST --text BYTES
 *        [--turns T] [--ramp S] [--timeout S] [--seed N]
 *
 * A request's body is head, message, tail; each ~~~~~~~~ in the message becomes a word of its own. With --turns T a
 * connection goes on with its conversation for T turns, sending all that was said, then begins a new one.
 * An answer counts if its status is 200, its "content"s come to BYTES in all and, streamed, it ends in [DONE]. After
 * anything else nothing new is asked, and the first error is reported. Prints one JSON object; latencies in ms.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 1000, HEAD_ROOM = 8192, LINE_ROOM = 65536, TEXT_ROOM = 16384 };
enum { RESTING, ASKING, HEAD, BODY };                          /* what a connection is at */
enum { BY_LENGTH, SIZE, DATA, DATA_END, TRAILER };             /* and where in a body */
static const uint64_t SECOND_NS = 1000000000;

typedef struct {
  char *at;
  size_t n, room;
} Bytes;

typedef struct {
  int fd, state, body, status, stream, done, turn;
  Bytes request, history;
  size_t sent, left, head_n, line_n, text_n, said_at;
  uint64_t asked_ns, first_ns;
  char head[HEAD_ROOM], line[LINE_ROOM], text[TEXT_ROOM];
} Client;

static Client *clients;
static struct pollfd *polls;
static int port, turns;
static Bytes head;
static char *message, *tail, error[256];
static long text_bytes, most, asked, answered, errors;
static double *latencies, *firsts;
static uint64_t seed, until_ns, timeout_ns;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

static void add(Bytes *b, const char *bytes, size_t n) {
  if (b->n + n > b->room) {
    b->room = (b->n + n) * 2;
    b->at = realloc(b->at, b->room);
  }
  memcpy(b->at + b->n, bytes, n);
  b->n += n;
}

static void fail(Client *c, const char *why) {
  if (!errors++) {
    snprintf(error, sizeof error, "%s (status %d) %.120s", why, c->status, c->line_n ? c->line : "");
    for (char *p = error; *p; p++)
      if (*p == '"' || *p == '\\' || *p < ' ') *p = '\'';
  }
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  c->state = RESTING;
}

/* ---- asking */

static void fill(char *slot) { /* one of 4096 words of four syllables */
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  uint64_t word = (seed >> 33) % 4096 * 2654435761u;
  for (int i = 0; i < 4; i++, word >>= 6) {
    slot[2 * i] = "bdfghjklmnprstvz"[word >> 2 & 15];
    slot[2 * i + 1] = "aeio"[word & 3];
  }
}

static void compose(Client *c) {
  char b[128];
  size_t said = strlen(message), size = head.n + c->history.n + said + strlen(tail);
  c->request.n = 0;
  add(&c->request, b, snprintf(b, sizeof b, "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n", port));
  add(&c->request, b, snprintf(b, sizeof b, "content-type: application/json\r\ncontent-length: %zu\r\n\r\n", size));
  add(&c->request, head.at, head.n);
  if (c->history.n) add(&c->request, c->history.at, c->history.n);
  c->said_at = c->request.n;
  add(&c->request, message, said);
  for (size_t i = 0; i + 8 <= said; i++)
    if (!memcmp(message + i, "~~~~~~~~", 8)) fill(c->request.at + c->said_at + i), i += 7;
  add(&c->request, tail, strlen(tail));
}

static void keep_talking(Client *c) {
  static const char answer[] = ",{\"role\":\"assistant\",\"content\":\"";
  if (++c->turn >= turns) {
    c->turn = 0;
    c->history.n = 0;
    return;
  }
  add(&c->history, c->request.at + c->said_at, strlen(message));
  add(&c->history, answer, sizeof answer - 1);
  add(&c->history, c->text, c->text_n);
  add(&c->history, "\"},", 3);
}

static void push(Client *c, struct pollfd *p) {
  while (c->sent < c->request.n) {
    ssize_t n = send(c->fd, c->request.at + c->sent, c->request.n - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) {
      fail(c, "could not send");
      return;
    }
    c->sent += n;
  }
  p->events = POLLIN | (c->sent < c->request.n ? POLLOUT : 0);
}

static void ask(Client *c, struct pollfd *p) {
  if (errors || asked >= most || now_ns() >= until_ns) {
    c->state = RESTING;
    return;
  }
  asked++;
  if (c->fd < 0) {
    int one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = p->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) {
      fail(c, "could not connect");
      return;
    }
  }
  compose(c);
  c->sent = c->head_n = c->line_n = c->text_n = 0;
  c->status = c->stream = c->done = 0;
  c->first_ns = 0;
  c->state = HEAD;
  c->asked_ns = now_ns();
  push(c, p);
}

/* ---- reading the answer */

static void gather(Client *c, uint64_t at) { /* the "content"s of one line; raw, as JSON has them */
  static const char key[] = "\"content\":\"";
  char *p = c->line, *end = c->line + c->line_n;
  if (c->stream && memmem(p, c->line_n, "[DONE]", 6) && c->line_n < 16) c->done = 1;
  while ((p = memmem(p, end - p, key, sizeof key - 1))) {
    for (p += sizeof key - 1; p < end && *p != '"'; p++) {
      if (*p == '\\' && p + 1 < end && c->text_n < TEXT_ROOM) c->text[c->text_n++] = *p++;
      if (c->text_n < TEXT_ROOM) c->text[c->text_n++] = *p;
      if (!c->first_ns) c->first_ns = at;
    }
  }
}

static void read_body(Client *c, const char *bytes, size_t n, uint64_t at) {
  for (size_t i = 0; i < n; i++) {
    if (bytes[i] != '\n') {
      if (c->line_n < LINE_ROOM - 1) c->line[c->line_n++] = bytes[i];
    } else if (c->stream) {
      gather(c, at);
      c->line_n = 0;
    }
  }
  c->line[c->line_n] = 0;
}

static void finish(Client *c, struct pollfd *p) {
  uint64_t now = now_ns();
  if (!c->stream) gather(c, now);
  if (c->status != 200) {
    fail(c, "refused");
  } else if (c->stream && !c->done) {
    fail(c, "no [DONE]");
  } else if ((long)c->text_n != text_bytes) {
    char why[80];
    snprintf(why, sizeof why, "%zu bytes of text instead of %ld", c->text_n, text_bytes);
    fail(c, why);
  } else {
    latencies[answered] = (now - c->asked_ns) / 1e6;
    firsts[answered++] = (c->first_ns - c->asked_ns) / 1e6;
    keep_talking(c);
    if (strcasestr(c->head, "\nconnection: close")) {
      close(c->fd);
      c->fd = -1;
    }
    ask(c, p);
  }
}

static int read_head(Client *c) {
  char *length = strcasestr(c->head, "\ncontent-length:");
  c->status = atoi(c->head + 9);
  c->stream = strcasestr(c->head, "\ncontent-type: text/event-stream") != NULL;
  c->left = length ? strtoul(length + 16, NULL, 10) : 0;
  c->body = length ? BY_LENGTH : SIZE;
  c->state = BODY;
  return length || strcasestr(c->head, "\ntransfer-encoding: chunked");
}

static void take(Client *c, struct pollfd *p, char *at, size_t n, uint64_t now) {
  while (n && c->state == HEAD) {
    if (c->head_n == HEAD_ROOM - 1) {
      fail(c, "a very long head");
      return;
    }
    c->head[c->head_n++] = *at++, n--;
    c->head[c->head_n] = 0;
    if (c->head_n < 4 || memcmp(c->head + c->head_n - 4, "\r\n\r\n", 4)) continue;
    if (!read_head(c)) {
      fail(c, "a body without a length");
      return;
    }
  }
  while (n && c->state == BODY) {
    if (c->body == BY_LENGTH || c->body == DATA) {
      size_t k = n < c->left ? n : c->left;
      read_body(c, at, k, now);
      at += k, n -= k, c->left -= k;
      if (c->left) continue;
      if (c->body == DATA) c->body = DATA_END;
      else finish(c, p);
      continue;
    }
    char ch = *at++;
    n--;
    if (c->body == SIZE && ch != '\n' && ch != '\r') {
      c->left = c->left * 16 + (ch <= '9' ? ch - '0' : (ch | 32) - 'a' + 10);
    } else if (ch == '\n') { /* the end of a size, of a chunk, or of it all */
      if (c->body == TRAILER) finish(c, p);
      else if (c->body == DATA_END) c->body = SIZE, c->left = 0;
      else c->body = c->left ? DATA : TRAILER;
    }
  }
}

static void hear(Client *c, struct pollfd *p) {
  static char buffer[262144];
  ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
  if (n > 0) take(c, p, buffer, n, now_ns());
  else if (n == 0 || errno != EAGAIN) fail(c, "the connection broke");
}

/* ---- */

static const char *option(int argc, char **argv, const char *name, const char *otherwise) {
  for (int i = 1; i + 1 < argc; i++)
    if (!strcmp(argv[i], name)) return argv[i + 1];
  return otherwise;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void say(const char *name, double *values) {
  qsort(values, answered, sizeof *values, ascending);
  printf("\"%s\":{\"p50\":%.4f,\"p99\":%.4f},", name, answered ? values[answered / 2] : 0,
         answered ? values[answered * 99 / 100] : 0);
}

int main(int argc, char **argv) {
  port = atoi(option(argc, argv, "--port", "0"));
  message = strdup(option(argc, argv, "--message", ""));
  tail = strdup(option(argc, argv, "--tail", ""));
  text_bytes = atol(option(argc, argv, "--text", "0"));
  most = atol(option(argc, argv, "--requests", "1000"));
  turns = atoi(option(argc, argv, "--turns", "1"));
  seed = strtoull(option(argc, argv, "--seed", "1"), NULL, 10);
  int connections = atoi(option(argc, argv, "--connections", "1")), joined = 0;
  double seconds = atof(option(argc, argv, "--seconds", "1")), ramp = atof(option(argc, argv, "--ramp", "0"));
  timeout_ns = atof(option(argc, argv, "--timeout", "30")) * SECOND_NS;
  FILE *file = fopen(option(argc, argv, "--head", ""), "rb");
  if (!file || connections < 1 || connections > MOST_CONNECTIONS) {
    fprintf(stderr, "load: --head FILE and 1 to %d --connections are needed\n", MOST_CONNECTIONS);
    return 2;
  }
  char b[65536];
  for (size_t n; (n = fread(b, 1, sizeof b, file));) add(&head, b, n);
  clients = calloc(connections, sizeof *clients);
  polls = calloc(connections, sizeof *polls);
  latencies = calloc(most + 1, sizeof *latencies);
  firsts = calloc(most + 1, sizeof *firsts);

  uint64_t begun = now_ns();
  until_ns = begun + (uint64_t)(seconds * SECOND_NS);
  for (int busy = 1; busy || (joined < connections && !errors && asked < most && now_ns() < until_ns);) {
    uint64_t now = now_ns();
    for (; joined < connections && now >= begun + (uint64_t)(ramp * SECOND_NS / connections * joined); joined++) {
      clients[joined].fd = -1;
      ask(&clients[joined], &polls[joined]);
    }
    poll(polls, joined, joined < connections ? 1 : 100);
    busy = 0;
    now = now_ns();
    for (int i = 0; i < joined; i++) {
      Client *c = &clients[i];
      if (c->state != RESTING && polls[i].revents & POLLOUT) push(c, &polls[i]);
      if (c->state != RESTING && polls[i].revents & (POLLIN | POLLHUP | POLLERR)) hear(c, &polls[i]);
      if (c->state != RESTING && now > c->asked_ns + timeout_ns) fail(c, "no answer in time");
      if (c->state == RESTING) polls[i].fd = -1;
      else busy = 1;
    }
  }
  printf("{\"elapsed_s\":%.4f,\"requests\":%ld,\"errors\":%ld,", (now_ns() - begun) / 1e9, answered, errors);
  say("latency_ms", latencies);
  say("first_ms", firsts);
  printf("\"error\":\"%s\"}\n", error);
  return 0;
}
