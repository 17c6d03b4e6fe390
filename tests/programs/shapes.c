// A program of C that the cases trace: arguments of every kind, frames that are inlined, a function that only the debug
// information knows. The cases name lines of this file: append, do not insert.
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum color { RED, GREEN = 5, BLUE };
struct point { int x, y; };
typedef struct shape {
    const char *name;
    struct point at;
    enum color color;
    unsigned kind : 3, weight : 5;
    struct shape *next;
    char tag[8];
    int sides[4];
    union { int number; char letter; };
    void (*draw)(int);
} shape_t;

#define TRACED __attribute__((noinline, noipa))
volatile long shapes_sum;

TRACED int shape_area(const shape_t *shape, int scale, const char *why) {
    return shape->at.x * shape->at.y * scale + (why != NULL);
}
TRACED long shape_mixed(int8_t a, double b, long c, bool d, const uint8_t *bytes, float e) {
    return a + (long)b + c + d + bytes[0] + (long)e;
}
TRACED long shape_many(int a, int b, int c, int d, int e, int f, short g, long h) {
    return a + b + c + d + e + f + g + h;
}
TRACED int shape_place(struct point p, enum color color) { return p.x + p.y + (int)color; }
TRACED int shape_copy(shape_t shape, int n) { return shape.at.x + n; }
TRACED void *shape_memory(void *memory, size_t size) { return memset(memory, 1, size); }
static TRACED int hidden_step(int n) { return n + 1; }

TRACED long shape_leaf(long n) { shapes_sum += n; return shapes_sum; }
static inline __attribute__((always_inline)) long shape_inlined(long n) {
    return shape_leaf(n + 1) + 1;
}
TRACED long shape_middle(long n) {
    return shape_inlined(n * 2) + 1;
}
TRACED long shape_outer(long n) {
    return shape_middle(n + 3) + 1;
}

struct piece { const char *from; long length; };
struct triple { int x, y, z; };
TRACED long shape_wide(struct piece piece, int n, struct triple triple) {
    return piece.length + n + triple.x + triple.y + triple.z;
}

struct mixture { double part; long count; };
struct compact { float part; int count; };
struct spot { float x, y; };
TRACED long shape_mixture(struct mixture mixture, long n, struct compact compact, struct spot at, int last) {
    return (long)mixture.part + n + compact.count + (long)at.x + last;
}

int main(int argc, char **argv) {
    int rounds = argc > 2 ? atoi(argv[2]) : 1;
    const char *what = argc > 1 ? argv[1] : "";
    shape_t second = { .name = "second", .at = { 5, 6 }, .color = BLUE };
    shape_t first = { "first", { 3, 4 }, GREEN, 5, 9, &second, "tagged", { 1, 2, 3, 4 }, { 65 }, NULL };
    const uint8_t bytes[4] = { 9, 8, 7, 6 };
    for (int i = 1; i <= rounds; i++) {
        if (!strcmp(what, "area")) shapes_sum += shape_area(&first, i, "because");
        if (!strcmp(what, "mixed")) shapes_sum += shape_mixed(-i, 2.5, 1L << 40, true, bytes, 1.5f);
        if (!strcmp(what, "many")) shapes_sum += shape_many(1, 2, 3, 4, 5, 6, -7, 8);
        if (!strcmp(what, "place")) shapes_sum += shape_place((struct point){ 7, -8 }, GREEN);
        if (!strcmp(what, "wide")) shapes_sum += shape_wide((struct piece){ "timber", 6 }, i, (struct triple){ 1, -2, 3 });
        if (!strcmp(what, "mixture")) {
            shapes_sum += shape_mixture((struct mixture){ 3.5, 11 }, 13, (struct compact){ 1.5f, 17 }, (struct spot){ 1, 2 }, 19);
        }
        if (!strcmp(what, "copy")) shapes_sum += shape_copy(first, 42);
        if (!strcmp(what, "memory")) shapes_sum += shape_memory(&second, 4) != NULL;
        if (!strcmp(what, "hidden")) shapes_sum += hidden_step(i);
        if (!strcmp(what, "stack")) shapes_sum += shape_outer(i);
    }
    return 0;
}
