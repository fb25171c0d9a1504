/*
 * The file beside an arena: transfers that are queued by kernels and done by a thread of their own, in the order in which they were
 * begun. A read that follows a write to the same place therefore sees the new bytes. What kernels use stands in fulltune.h.
 */
#ifndef FULLTUNE_IO_H
#define FULLTUNE_IO_H

#include "fulltune.h"

#define FT_IO_MESSAGE 400

/*
 * Creates the file `path` of `bytes` zeros (sparse, mode 0600; there must be none yet), removes its name at once, so that the room goes back
 * whatever happens, and starts the thread. NULL and a message when the system refuses.
 */
struct ft_io *ft_io_create(const char *path, int64_t bytes, char message[FT_IO_MESSAGE]);
/* Ends the thread after what is queued, and closes the file. NULL is fine. */
void ft_io_destroy(struct ft_io *io);

int64_t ft_io_bytes(const struct ft_io *io);
/* Blocks until nothing is queued. */
void ft_io_drain(struct ft_io *io);
/* Whether a transfer has failed. Nothing is transferred afterwards, and waiting for it returns at once. */
bool ft_io_failed(const struct ft_io *io);
/* What has failed: which transfer, where, how many bytes, why. */
void ft_io_message(struct ft_io *io, char message[FT_IO_MESSAGE]);
/* Transfers at once, on the calling thread; nothing may be queued. Returns whether it worked, else with a message. */
bool ft_io_read_now(struct ft_io *io, char *to, int64_t bytes, int64_t at, char message[FT_IO_MESSAGE]);
bool ft_io_write_now(struct ft_io *io, const char *from, int64_t bytes, int64_t at, char message[FT_IO_MESSAGE]);

#endif
