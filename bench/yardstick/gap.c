/*
 * Yardstick: for how long the machine itself keeps a program from running that does nothing but look
 * at the clock. Below a hypervisor that is no matter of load, and no count of this kernel's shows it.
 *
 * usage: gap MS COUNT
 * COUNT processes look at the clock for MS milliseconds. Prints the longest time between two looks of
 * one of them, in nanoseconds.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long longest_gap(long long end)
{
	long long last = now(), longest = 0;

	while (last < end) {
		long long time = now();

		if (time - last > longest)
			longest = time - last;
		last = time;
	}
	return longest;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	long long end = now() + strtoll(argv[1], NULL, 0) * 1000000, longest = 0, one;
	int ends[2];

	if (pipe(ends)) {
		perror("pipe");
		return 1;
	}
	long count = strtol(argv[2], NULL, 0);

	for (long n = 0; n < count; n++) {
		if (fork() == 0) {
			one = longest_gap(end);
			_exit(write(ends[1], &one, sizeof(one)) != sizeof(one));
		}
	}
	for (long n = 0; n < count; n++) {
		if (read(ends[0], &one, sizeof(one)) != sizeof(one))
			return 1;
		if (one > longest)
			longest = one;
	}
	printf("%lld\n", longest);
	return 0;
}
