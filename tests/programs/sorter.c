// A program of C with a library: its functions are called by those of the C library, which keeps no frame pointers.
#include <stdlib.h>

volatile int sorter_sum;

__attribute__((noinline, noipa)) int sorter_compare(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}
__attribute__((noinline, noipa)) void sorter_sort(int *numbers, int count) {
    qsort(numbers, count, sizeof(int), sorter_compare);
    sorter_sum = numbers[0];
}

int main(void) {
    int numbers[2] = { 2, 1 };
    sorter_sort(numbers, 2);
    return 0;
}
