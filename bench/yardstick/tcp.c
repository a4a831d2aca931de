/*
 * Yardstick: bandwidth of a loopback TCP connection between two C processes, one send and one
 * recv (MSG_WAITALL) a message. The source's bytes lie in memory larger than the caches.
 *
 * usage: tcp MESSAGE_BYTES TOTAL_BYTES
 * prints bytes per second
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SOURCE_BYTES (64UL << 20)

static int send_all(int fd, size_t message, size_t total)
{
	char *source = malloc(SOURCE_BYTES);

	if (!source)
		return 1;
	memset(source, 1, SOURCE_BYTES);
	for (size_t sent = 0, at = 0; sent < total; sent += message) {
		for (size_t done = 0; done < message;) {
			ssize_t n = send(fd, source + at + done, message - done, MSG_NOSIGNAL);

			if (n <= 0)
				return 1;
			done += n;
		}
		at = (at + message) % SOURCE_BYTES;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	struct timespec from, to;
	int one = 1;

	if (argc != 3)
		return 2;
	size_t message = strtoull(argv[1], NULL, 0), total = strtoull(argv[2], NULL, 0);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) ||
	    listen(listener, 1) || getsockname(listener, (struct sockaddr *)&address, &length)) {
		perror("setup");
		return 1;
	}
	pid_t child = fork();

	if (child < 0)
		return 1;
	if (!child) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (fd < 0 || connect(fd, (struct sockaddr *)&address, length))
			_exit(1);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		_exit(send_all(fd, message, total));
	}
	int fd = accept(listener, NULL, NULL);
	char *sink = malloc(message);

	if (fd < 0 || !sink)
		return 1;
	memset(sink, 2, message);
	for (size_t got = 0; got < total; got += message) {
		if (recv(fd, sink, message, MSG_WAITALL) != (ssize_t)message)
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
