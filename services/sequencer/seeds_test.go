//go:build !race

package sequencer

// manySeeds is how many seeds the pipeline is run with by itself.
const manySeeds = 1000
