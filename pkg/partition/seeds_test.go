//go:build !race

package partition

// manySeeds is how many seeds the simulation is run with by itself.
const manySeeds = 1000
