// A program of C++ that the cases trace: names that are mangled, methods, references, base classes, templates. The cases name
// lines of this file: append, do not insert.
#include <cstdlib>
#include <cstring>

#define TRACED __attribute__((noinline, noipa))
volatile long zoo_sum;

namespace zoo {
struct Animal {
    int legs;
    const char *name;
};
class Dog : public Animal {
    int bones;
  public:
    Dog(int bones) : Animal{4, "dog"}, bones(bones) {}
    TRACED int bury(int count) { return bones -= count; }
};
TRACED int feed(Dog &dog, unsigned char portions) { return dog.legs + portions; }
TRACED int feed(int cage) { return cage; }
template <typename T> TRACED T weigh(T a) { return a; }
}

int main(int argc, char **argv) {
    int rounds = argc > 2 ? atoi(argv[2]) : 1;
    zoo::Dog dog(10);
    for (int i = 1; i <= rounds; i++) {
        zoo_sum += dog.bury(i);
        zoo_sum += zoo::feed(dog, 200);
        zoo_sum += zoo::feed(i * 7);
        zoo_sum += zoo::weigh<long>(i);
    }
    return 0;
}
