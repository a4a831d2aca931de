/*
 * Yardstick: bandwidth of an AF_UNIX stream socket between two C processes, one sendmsg and one
 * recvmsg (MSG_WAITALL) a message. The source's bytes lie in a shared mapping larger than the
 * caches, as a device's VRAM does; the sink receives into one buffer.
 *
 * usage: stream MESSAGE_BYTES TOTAL_BYTES
 * prints bytes per second
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SOURCE_BYTES (256UL << 20)

int main(int argc, char **argv)
{
	struct timespec from, to;
	int pair[2];

	if (argc != 3)
		return 2;
	size_t message = strtoull(argv[1], NULL, 0), total = strtoull(argv[2], NULL, 0);
	int fd = memfd_create("yardstick", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, SOURCE_BYTES) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
		perror("setup");
		return 1;
	}
	char *source = mmap(NULL, SOURCE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *sink = malloc(message);

	if (source == MAP_FAILED || !sink)
		return 1;
	memset(source, 1, SOURCE_BYTES);
	memset(sink, 2, message);

	pid_t child = fork();

	if (child < 0)
		return 1;
	if (!child) {
		close(pair[0]);
		/* A forked process has to fault the shared pages in before it is timed. */
		for (size_t at = 0; at < SOURCE_BYTES; at += 4096)
			((volatile char *)source)[at];
		for (size_t sent = 0, at = 0; sent < total; sent += message) {
			size_t done = 0;

			while (done < message) {
				ssize_t n = send(pair[1], source + at + done, message - done, MSG_NOSIGNAL);

				if (n <= 0)
					_exit(1);
				done += n;
			}
			at += message;
			if (at + message > SOURCE_BYTES)
				at = 0;
		}
		_exit(0);
	}
	close(pair[1]);
	for (size_t got = 0; got < total; got += message) {
		if (recv(pair[0], sink, message, MSG_WAITALL) != (ssize_t)message)
			return 1;
		if (!got)
			clock_gettime(CLOCK_MONOTONIC, &from);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	waitpid(child, NULL, 0);
	printf("%.0f\n", (total - message) /
	       ((to.tv_sec - from.tv_sec) + (to.tv_nsec - from.tv_nsec) / 1e9));
	return 0;
}
