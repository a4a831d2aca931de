/*
 * Yardstick: single-core memcpy between two regions that do not fit in the caches.
 *
 * usage: copy out|in BYTES PIECE ROUNDS
 * out: BYTES of shared memory go PIECE by PIECE into one buffer of PIECE bytes, as out of a device
 * into a caller's buffer; in: the other way round. Prints bytes per second, best of ROUNDS.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	int in = !strcmp(argv[1], "in");
	size_t size = strtoull(argv[2], NULL, 0), piece = strtoull(argv[3], NULL, 0);
	long rounds = strtol(argv[4], NULL, 0);
	int fd = memfd_create("yardstick", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, size)) {
		perror("memfd");
		return 1;
	}
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *buffer = mmap(NULL, piece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || buffer == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	memset(memory, 1, size);
	memset(buffer, 2, piece);

	double best = 0;

	for (long round = 0; round < rounds; round++) {
		struct timespec start, end;

		clock_gettime(CLOCK_MONOTONIC, &start);
		for (size_t at = 0; at + piece <= size; at += piece) {
			if (in)
				memcpy(memory + at, buffer, piece);
			else
				memcpy(buffer, memory + at, piece);
			/* The copy must not be optimised away. */
			__asm__ volatile("" : : "r"(buffer), "r"(memory) : "memory");
		}
		clock_gettime(CLOCK_MONOTONIC, &end);
		double rate = size / ((end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec) / 1e9);

		if (rate > best)
			best = rate;
	}
	printf("%.0f\n", best);
	return 0;
}
