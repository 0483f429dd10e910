// Threads by the C library: a lock, a condition, joins, locals of a thread, and memory that is paged out under them.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define THREADS 4
#define ROUNDS 2000
#define SIZE (4 << 20)
#define MADV_PAGEOUT 21

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn, count;
static __thread int own;
static unsigned char *memory;

static void *work(void *argument)
{
    int number = (int)(long)argument;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_mutex_lock(&lock);
        while (turn != number)
            pthread_cond_wait(&changed, &lock);
        turn = (turn + 1) % THREADS;
        count++;
        own++;
        memory[(long)count * 4096 % SIZE + number] += 1;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        if (number == 0 && round % 100 == 0)
            madvise(memory, SIZE, MADV_PAGEOUT);
    }
    return (void *)(long)own;
}

int main(void)
{
    pthread_t threads[THREADS];
    memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    for (long number = 0; number < THREADS; number++)
        if (pthread_create(&threads[number], NULL, work, (void *)number))
            return 2;
    for (int number = 0; number < THREADS; number++) {
        void *rounds;
        if (pthread_join(threads[number], &rounds) || (long)rounds != ROUNDS)
            return 3;
    }
    long sum = 0;
    for (long byte = 0; byte < SIZE; byte++)
        sum += memory[byte];
    if (sum != THREADS * ROUNDS || count != sum || own != 0)
        return 4;
    printf("%d threads, %d turns each, and memory paged out under them\n", THREADS, ROUNDS);
    return 0;
}
