/*
 * Yardstick: the messages of one vfio-user region read or write, bounced between two C processes
 * over an AF_UNIX stream socket. Nothing is decoded: this is what the kernel and the scheduler
 * charge for the round trip alone.
 *
 * usage: pingpong block|poll REQUEST_BYTES REPLY_BYTES ROUNDS [CLIENT_CORE SERVER_CORE]
 * prints nanoseconds per round trip
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int flags;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void hold_on(const char *core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(atoi(core), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static void transfer(int fd, char *bytes, size_t size, int out)
{
	struct iovec iov = { bytes, size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	while (iov.iov_len) {
		ssize_t n = out ? sendmsg(fd, &msg, MSG_NOSIGNAL) : recvmsg(fd, &msg, flags);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			exit(n ? 1 : 0);
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= n;
	}
}

int main(int argc, char **argv)
{
	static char bytes[1 << 16];
	struct timespec from, to;
	int pair[2];

	if (argc != 5 && argc != 7)
		return 2;
	flags = strcmp(argv[1], "poll") ? 0 : MSG_DONTWAIT;
	size_t request = strtoul(argv[2], NULL, 0), reply = strtoul(argv[3], NULL, 0);
	long rounds = strtol(argv[4], NULL, 0);

	if (request > sizeof(bytes) || reply > sizeof(bytes))
		return 2;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair");

	pid_t server = fork();

	if (server < 0)
		die("fork");
	if (argc == 7)
		hold_on(argv[server ? 5 : 6]);
	if (!server) {
		close(pair[0]);
		for (;;) {
			transfer(pair[1], bytes, request, 0);
			transfer(pair[1], bytes, reply, 1);
		}
	}
	close(pair[1]);
	for (long i = -rounds / 10; i < rounds; i++) {
		if (!i)
			clock_gettime(CLOCK_MONOTONIC, &from);
		transfer(pair[0], bytes, request, 1);
		transfer(pair[0], bytes, reply, 0);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	close(pair[0]);
	waitpid(server, NULL, 0);
	printf("%.1f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / rounds);
	return 0;
}
