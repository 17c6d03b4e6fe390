// A program of Go that the cases trace: its arguments come in registers that no other language uses so, its stacks move. The
// cases name lines of this file: append, do not insert.
package main

import (
	"os"
	"strconv"
)

type Hold struct {
	weight uint32
	crates int64
	label  string
}

type Box[T any] struct{ items []T }

var sum int64

//go:noinline
func (h *Hold) Load(more uint32, crates int64) uint32 {
	h.weight += more
	h.crates += crates
	return h.weight
}

//go:noinline
func (h Hold) Total(extra int64) int64 { return int64(h.weight) + h.crates + extra }

//go:noinline
func (b *Box[T]) Put(item T) int {
	b.items = append(b.items, item)
	return len(b.items)
}

//go:noinline
func Map[T, U any](items []T, change func(T) U) []U {
	changed := make([]U, 0, len(items))
	for _, item := range items {
		changed = append(changed, change(item))
	}
	return changed
}

//go:noinline
func greet(name string, times int) int { return len(name) * times }

//go:noinline
func many(a int8, b uint16, c int32, d int64, e bool, f, g, h, i, j, k int64) int64 {
	if e {
		return int64(a) + int64(b) + int64(c) + d + f + g + h + i + j + k
	}
	return 0
}

//go:noinline
func mixed(x float64, n int64, values []int32, y float32) int64 {
	return int64(x) + n + int64(values[0]) + int64(y)
}

//go:noinline
func leaf(n int64) int64 { sum += n; return sum }

//go:noinline
func middle(n int64) int64 { return leaf(n*2) + 1 }

//go:noinline
func outer(n int64) int64 { return middle(n+3) + 1 }

// A frame that the first stack of a goroutine is too small for.
//
//go:noinline
func deep(n int64) int64 {
	var room [4096]int64
	room[n&4095] = n
	if n > 0 {
		return deep(n-1) + room[n&4095]
	}
	return leaf(1)
}

func main() {
	what, rounds := os.Args[1], 1
	if len(os.Args) > 2 {
		rounds, _ = strconv.Atoi(os.Args[2])
	}
	hold := &Hold{weight: 100, crates: 3, label: "coal"}
	for i := 1; i <= rounds; i++ {
		n := int64(i)
		switch what {
		case "load":
			hold.Load(uint32(i), n*10)
		case "total":
			sum += Hold{7, 8, "wool"}.Total(n)
		case "greet":
			sum += int64(greet("captain", i))
		case "many":
			sum += many(-1, 2, -3, 4, true, 6, 7, 8, 9, 10, 11)
		case "mixed":
			sum += mixed(2.5, 42, []int32{-5, 6}, 1.5)
		case "stack":
			sum += outer(n)
		case "deep":
			done := make(chan int64)
			go func() { done <- deep(40) }()
			sum += <-done
		case "generic":
			numbers := &Box[int64]{}
			words := &Box[string]{}
			numbers.Put(n)
			words.Put("rope")
			Map([]int64{1, 2, 3}, func(v int64) string { return strconv.FormatInt(v+n, 10) })
		}
	}
}
