/* A language model that costs almost nothing: OpenAI's chat completions, plain and streamed, from one thread.
 *
 *   mock PORT NAME...        serves on 127.0.0.1 and lists the NAMEs at /v1/models
 *
 * The model's name says what it does: mock-t64-d2000-f5000 speaks 64 tokens of 6 bytes ("token,"), 2000 us apart, the
 * first after 5000 us. With no delay a stream leaves in one write; with one, each event is a write of its own.
 * All else in a request is ignored, tools included. Chunked request bodies are not understood.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 1024, MOST_TOKENS = 2000, MOST_BYTES = 8 << 20 };
static const uint64_t SECOND_NS = 1000000000, US_NS = 1000;

typedef struct {
  char *in, *out;
  size_t in_n, in_room, out_n, out_sent, out_room;
  int busy, stream, usage, gone;
  long tokens, spoken, delay_us;
  uint64_t due_ns; /* when to speak next; while busy */
} Client;

static Client clients[MOST_CONNECTIONS];
static struct pollfd polls[MOST_CONNECTIONS + 1]; /* the listener is the last one: polls[count] */
static int count;
static char models[8192];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

static void put(Client *c, const char *bytes, size_t n) {
  if (c->out_n + n > c->out_room) {
    c->out_room = (c->out_n + n) * 2;
    c->out = realloc(c->out, c->out_room);
  }
  memcpy(c->out + c->out_n, bytes, n);
  c->out_n += n;
}

static void flush(Client *c, struct pollfd *p) {
  while (c->out_sent < c->out_n) {
    ssize_t n = send(p->fd, c->out + c->out_sent, c->out_n - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
      if (errno != EAGAIN) c->gone = 1;
      break;
    }
    c->out_sent += n;
  }
  if (c->out_sent == c->out_n) c->out_sent = c->out_n = 0;
  p->events = POLLIN | (c->out_n ? POLLOUT : 0);
}

#define COMMON "\"id\":\"chatcmpl-mock\",\"created\":1750000000,\"model\":\"mock\","
#define CHUNK "{" COMMON "\"object\":\"chat.completion.chunk\",\"choices\":"
#define USAGE "\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":%ld,\"total_tokens\":%ld}}"

static void put_json(Client *c, const char *body, int n) {
  char head[128];
  int k = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n", n);
  put(c, head, k);
  put(c, body, n);
}

static void put_event(Client *c, const char *data, int n) {
  char head[32];
  int k = snprintf(head, sizeof head, "%x\r\ndata: ", n + 8);
  put(c, head, k);
  put(c, data, n);
  put(c, "\n\n\r\n", 4);
}

static void put_token(Client *c) {
  char b[512];
  const char *role = c->spoken++ ? "" : "\"role\":\"assistant\",";
  int n = snprintf(b, sizeof b, CHUNK "[{\"index\":0,\"delta\":{%s\"content\":\"token,\"},\"finish_reason\":null}]}", role);
  put_event(c, b, n);
}

static void put_end(Client *c) {
  char b[512];
  put_event(c, b, snprintf(b, sizeof b, CHUNK "[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}"));
  if (c->usage) put_event(c, b, snprintf(b, sizeof b, CHUNK "[]," USAGE, c->tokens, c->tokens + 12));
  put_event(c, "[DONE]", 6);
  put(c, "0\r\n\r\n", 5);
}

static void put_reply(Client *c) {
  static char text[6 * MOST_TOKENS + 1], b[sizeof text + 1024];
  for (long i = 0; i < c->tokens; i++) memcpy(text + 6 * i, "token,", 7);
  int n = snprintf(b, sizeof b, "{" COMMON "\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":"
                   "{\"role\":\"assistant\",\"content\":\"%s\"},\"finish_reason\":\"stop\"}]," USAGE,
                   text, c->tokens, c->tokens + 12);
  put_json(c, b, n);
}

static void speak(Client *c, uint64_t now) { /* what is due has been waited for */
  if (!c->stream) {
    put_reply(c);
  } else {
    do put_token(c);
    while (!c->delay_us && c->spoken < c->tokens);
    if (c->spoken < c->tokens) {
      c->due_ns += c->delay_us * US_NS;
      if (c->due_ns + SECOND_NS < now) c->due_ns = now; /* do not make up for more than a second */
      return;
    }
    put_end(c);
  }
  c->busy = 0;
}

static int is_true(const char *body, size_t n, const char *key) {
  const char *p = memmem(body, n, key, strlen(key)), *end = body + n;
  if (!p) return 0;
  for (p += strlen(key); p < end && (*p == ' ' || *p == ':'); p++) continue;
  return end - p >= 4 && !memcmp(p, "true", 4);
}

static void answer(Client *c, const char *head, const char *body, size_t n) {
  if (!memcmp(head, "GET ", 4)) {
    put_json(c, models, strlen(models));
    return;
  }
  long first_us = 0;
  c->tokens = 16, c->delay_us = 0, c->spoken = 0;
  const char *name = memmem(body, n, "\"mock-", 6);
  for (const char *p = name ? name + 5 : "\""; *p != '"'; p++) {
    if (*p != '-') continue;
    long value = strtol(p + 2, NULL, 10);
    if (p[1] == 't') c->tokens = value < 1 ? 1 : value > MOST_TOKENS ? MOST_TOKENS : value;
    if (p[1] == 'd') c->delay_us = value;
    if (p[1] == 'f') first_us = value;
  }
  c->stream = is_true(body, n, "\"stream\"");
  c->usage = is_true(body, n, "\"include_usage\"");
  c->busy = 1;
  c->due_ns = now_ns() + first_us * US_NS;
  static const char ok[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
  if (c->stream) put(c, ok, sizeof ok - 1);
  if (!first_us) speak(c, c->due_ns);
}

static void hear(Client *c, struct pollfd *p) {
  for (;;) {
    if (c->in_room - c->in_n < 65536) {
      c->in_room = c->in_room * 2 + 131072;
      c->in = realloc(c->in, c->in_room);
    }
    ssize_t n = recv(p->fd, c->in + c->in_n, c->in_room - c->in_n - 1, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0 || c->in_n + n > MOST_BYTES) {
      c->gone = 1;
      return;
    }
    c->in_n += n;
  }
  c->in[c->in_n] = 0;
  char *end = c->busy ? NULL : strstr(c->in, "\r\n\r\n");
  if (!end) return;
  char *body = end + 4, *length = strcasestr(c->in, "\ncontent-length:");
  size_t n = length && length < end ? strtoul(length + 16, NULL, 10) : 0, whole = body - c->in + n;
  if (c->in_n < whole) return;
  answer(c, c->in, body, n);
  memmove(c->in, c->in + whole, c->in_n - whole);
  c->in_n -= whole;
}

static void welcome(int listener) {
  int fd = accept(listener, NULL, NULL), one = 1;
  if (fd < 0) return;
  if (count == MOST_CONNECTIONS) {
    close(fd);
    return;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  clients[count] = (Client){0};
  polls[count + 1] = polls[count];
  polls[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void part(int i) { /* the last client takes the place of the one that is gone */
  close(polls[i].fd);
  free(clients[i].in);
  free(clients[i].out);
  count--;
  clients[i] = clients[count];
  polls[i] = polls[count];
  polls[count] = polls[count + 1];
}

int main(int argc, char **argv) {
  int port = argc > 1 ? atoi(argv[1]) : 0, one = 1;
  size_t n = snprintf(models, sizeof models, "{\"object\":\"list\",\"data\":[");
  for (int i = 2; i < argc && n < sizeof models - 256; i++)
    n += snprintf(models + n, sizeof models - n, "%s{\"id\":\"%.100s\",\"object\":\"model\",\"created\":1750000000,"
                  "\"owned_by\":\"bench\"}", i > 2 ? "," : "", argv[i]);
  snprintf(models + n, sizeof models - n, "]}");

  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, MOST_CONNECTIONS)) {
    perror("mock");
    return 1;
  }
  polls[0] = (struct pollfd){.fd = listener, .events = POLLIN};

  for (;;) {
    uint64_t next = UINT64_MAX, now = now_ns();
    for (int i = 0; i < count; i++)
      if (clients[i].busy && clients[i].due_ns < next) next = clients[i].due_ns;
    uint64_t wait = next > now ? next - now : 0;
    struct timespec until = {wait / SECOND_NS, wait % SECOND_NS};
    ppoll(polls, count + 1, next == UINT64_MAX ? NULL : &until, NULL);
    now = now_ns();
    int news = polls[count].revents;
    for (int i = count - 1; i >= 0; i--) {
      Client *c = &clients[i];
      if (polls[i].revents & (POLLIN | POLLHUP | POLLERR)) hear(c, &polls[i]);
      while (c->busy && c->due_ns <= now && !c->gone) speak(c, now);
      if (c->out_n && !c->gone) flush(c, &polls[i]);
      if (c->gone) part(i);
    }
    if (news) welcome(listener);
  }
}
