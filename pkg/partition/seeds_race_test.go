//go:build race

package partition

// manySeeds is how many seeds the simulation is run with by itself; the race detector slows each down by ten.
const manySeeds = 40
