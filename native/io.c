/* pread and pwrite through the page cache: alignment does not matter, and the system writes behind and keeps what it has room for. */
#define _GNU_SOURCE
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* what gcc defines by itself */
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sys/syscall.h>
#endif

/* Transfers that may be queued; one more waits for the oldest. */
#define CAPACITY 64
/* The most that one call of the system moves: some take no more than 2 GiB. */
#define MOST_BYTES ((int64_t)1 << 30)

typedef struct {
  char *data;
  int64_t bytes;
  int64_t at;
  bool is_write;
} transfer;

struct ft_io {
  int file;
  int64_t bytes;
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t submitted_condition; /* the thread waits for work */
  pthread_cond_t done_condition;      /* the others wait for the thread */
  transfer queue[CAPACITY];           /* number n lies at n % CAPACITY */
  uint64_t submitted;
  uint64_t done;
  bool stop;
  atomic_bool failed;
  char message[FT_IO_MESSAGE];
};

/*
 * While an instruction runs, sanitizer builds poison what does not belong to it, staging buffers under way among them: a kernel that touches
 * those is caught. The transfers themselves may, so they go past the sanitizer's own checks.
 */
static ssize_t read_some(int file, char *to, size_t bytes, int64_t at) {
#if defined(__SANITIZE_ADDRESS__) && defined(SYS_pread64)
  return syscall(SYS_pread64, file, to, bytes, at);
#else
  return pread(file, to, bytes, (off_t)at);
#endif
}

static ssize_t write_some(int file, const char *from, size_t bytes, int64_t at) {
#if defined(__SANITIZE_ADDRESS__) && defined(SYS_pwrite64)
  return syscall(SYS_pwrite64, file, from, bytes, at);
#else
  return pwrite(file, from, bytes, (off_t)at);
#endif
}

static bool perform(int file, const transfer *t, char message[FT_IO_MESSAGE]) {
  for (int64_t done = 0; done < t->bytes;) {
    const int64_t left = t->bytes - done;
    const size_t some = (size_t)(left < MOST_BYTES ? left : MOST_BYTES);
    const ssize_t moved = t->is_write ? write_some(file, t->data + done, some, t->at + done) : read_some(file, t->data + done, some, t->at + done);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) {
      snprintf(message, FT_IO_MESSAGE, "cannot %s %lld bytes at byte %lld of the offload file, %lld of them are done: %s", t->is_write ? "write" : "read",
               (long long)t->bytes, (long long)t->at, (long long)done, moved < 0 ? strerror(errno) : "the file ends there");
      return false;
    }
    done += moved;
  }
  return true;
}

static void *thread_main(void *argument) {
  struct ft_io *io = argument;
  pthread_mutex_lock(&io->mutex);
  for (;;) {
    while (io->done == io->submitted && !io->stop) pthread_cond_wait(&io->submitted_condition, &io->mutex);
    if (io->done == io->submitted) break;
    const transfer next = io->queue[io->done % CAPACITY];
    if (!atomic_load(&io->failed)) {
      pthread_mutex_unlock(&io->mutex);
      char message[FT_IO_MESSAGE];
      const bool worked = perform(io->file, &next, message);
      pthread_mutex_lock(&io->mutex);
      if (!worked) {
        memcpy(io->message, message, sizeof message);
        atomic_store(&io->failed, true);
      }
    }
    io->done++;
    pthread_cond_broadcast(&io->done_condition);
  }
  pthread_mutex_unlock(&io->mutex);
  return NULL;
}

static void close_file(struct ft_io *io) {
  if (io->file >= 0) close(io->file);
  free(io);
}

struct ft_io *ft_io_create(const char *path, int64_t bytes, char message[FT_IO_MESSAGE]) {
  struct ft_io *io = calloc(1, sizeof *io);
  if (io == NULL) {
    snprintf(message, FT_IO_MESSAGE, "out of memory");
    return NULL;
  }
  io->bytes = bytes;
  io->file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (io->file < 0) {
    snprintf(message, FT_IO_MESSAGE, "cannot create the offload file: %s", strerror(errno));
    close_file(io);
    return NULL;
  }
  const bool sized = ftruncate(io->file, (off_t)bytes) == 0;
  const int error = errno;
  unlink(path);
  if (!sized) {
    snprintf(message, FT_IO_MESSAGE, "cannot make an offload file of %lld bytes: %s", (long long)bytes, strerror(error));
    close_file(io);
    return NULL;
  }
  pthread_mutex_init(&io->mutex, NULL);
  pthread_cond_init(&io->submitted_condition, NULL);
  pthread_cond_init(&io->done_condition, NULL);
  if (pthread_create(&io->thread, NULL, thread_main, io) != 0) {
    snprintf(message, FT_IO_MESSAGE, "the system gives no more threads");
    close_file(io);
    return NULL;
  }
  return io;
}

void ft_io_destroy(struct ft_io *io) {
  if (io == NULL) return;
  pthread_mutex_lock(&io->mutex);
  io->stop = true;
  pthread_cond_signal(&io->submitted_condition);
  pthread_mutex_unlock(&io->mutex);
  pthread_join(io->thread, NULL);
  pthread_mutex_destroy(&io->mutex);
  pthread_cond_destroy(&io->submitted_condition);
  pthread_cond_destroy(&io->done_condition);
  close_file(io);
}

int64_t ft_io_bytes(const struct ft_io *io) { return io->bytes; }

static void submit(struct ft_io *io, transfer one) {
  pthread_mutex_lock(&io->mutex);
  while (io->submitted - io->done == CAPACITY) pthread_cond_wait(&io->done_condition, &io->mutex);
  io->queue[io->submitted % CAPACITY] = one;
  io->submitted++;
  pthread_cond_signal(&io->submitted_condition);
  pthread_mutex_unlock(&io->mutex);
}

void ft_io_read(struct ft_io *io, char *to, int64_t bytes, int64_t at) { submit(io, (transfer){.data = to, .bytes = bytes, .at = at}); }

void ft_io_write(struct ft_io *io, const char *from, int64_t bytes, int64_t at) {
  submit(io, (transfer){.data = (char *)(uintptr_t)from, .bytes = bytes, .at = at, .is_write = true});
}

void ft_io_wait(struct ft_io *io, const char *data, int64_t bytes) {
  const uintptr_t from = (uintptr_t)data, to = from + (uintptr_t)bytes;
  pthread_mutex_lock(&io->mutex);
  uint64_t until = io->done;
  for (uint64_t n = io->done; n < io->submitted; n++) {
    const transfer *t = &io->queue[n % CAPACITY];
    const uintptr_t start = (uintptr_t)t->data;
    if (start < to && from < start + (uintptr_t)t->bytes) until = n + 1;
  }
  while (io->done < until) pthread_cond_wait(&io->done_condition, &io->mutex);
  pthread_mutex_unlock(&io->mutex);
}

void ft_io_drain(struct ft_io *io) {
  pthread_mutex_lock(&io->mutex);
  while (io->done < io->submitted) pthread_cond_wait(&io->done_condition, &io->mutex);
  pthread_mutex_unlock(&io->mutex);
}

bool ft_io_failed(const struct ft_io *io) { return atomic_load(&io->failed); }

void ft_io_message(struct ft_io *io, char message[FT_IO_MESSAGE]) {
  pthread_mutex_lock(&io->mutex);
  memcpy(message, io->message, FT_IO_MESSAGE);
  pthread_mutex_unlock(&io->mutex);
}

bool ft_io_read_now(struct ft_io *io, char *to, int64_t bytes, int64_t at, char message[FT_IO_MESSAGE]) {
  return perform(io->file, &(transfer){.data = to, .bytes = bytes, .at = at}, message);
}

bool ft_io_write_now(struct ft_io *io, const char *from, int64_t bytes, int64_t at, char message[FT_IO_MESSAGE]) {
  return perform(io->file, &(transfer){.data = (char *)(uintptr_t)from, .bytes = bytes, .at = at, .is_write = true}, message);
}
