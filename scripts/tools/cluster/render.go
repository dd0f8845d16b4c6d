//go:build unix

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// page is what the templates in configs/cluster may name.
type page struct {
	c *cluster
	p *process

	Name, Kind, Data string
	NATS             string // servers
	User, Password   string // of this process there
	PD, Prefix       string
	Secret           string // file
}

// Port is the number of a port of this process, by what it is for.
func (g *page) Port(use string) (int, error) {
	port, ok := g.p.Ports[use]
	if !ok {
		return 0, fmt.Errorf("%s has no %s port", g.Name, use)
	}
	return port, nil
}

// Peers are the addresses by which this process reaches the others of its kind.
func (g *page) Peers() []string {
	var all []string
	for _, p := range g.c.kind(g.Kind) {
		if p.Name != g.Name {
			all = append(all, g.c.way(g.Name, p.Name))
		}
	}
	return all
}

// Nowhere is an address that nobody listens on.
func (g *page) Nowhere() string { return local(g.c.Base + nowhere) }

func (c *cluster) page(p *process) *page {
	g := &page{
		c: c, p: p, Name: p.Name, Kind: p.Kind, Data: c.data(p), NATS: c.servers(""), User: p.Kind, Password: c.password(p.Kind),
		PD: c.pds(), Prefix: c.Prefix, Secret: c.secretFile(),
	}
	switch p.Kind {
	case "edge", "sequencer", "history": // the others connect directly, or not at all
		var nats []string
		for _, s := range c.kind("nats") {
			nats = append(nats, "nats://"+c.way(p.Name, s.Name))
		}
		g.NATS = strings.Join(nats, ",")
		if p.Kind != "edge" && c.PD == "" {
			g.PD = c.way(p.Name, "pd")
		}
	}
	return g
}

// render writes the configurations of all processes.
func (c *cluster) render() error {
	permissions, err := os.ReadFile(filepath.Join(c.root, "configs", "nats", "permissions.conf"))
	if err != nil {
		return fmt.Errorf("%w; run this in the repository, or name it with --root", err)
	}
	if err := os.WriteFile(c.conf("permissions.conf"), permissions, 0o600); err != nil {
		return err
	}
	for _, p := range append(c.processes, &process{Name: "provisioner", Kind: "provisioner"}) {
		var err error
		switch p.Kind {
		case "nats":
			err = c.fill("nats.conf", p.Name+".conf", c.page(p))
		case "edge", "sequencer", "history", "provisioner":
			err = c.fill("catena.yaml", p.Name+".yaml", c.page(p))
		}
		if err != nil {
			return err
		}
	}
	return c.writeRunFile()
}

func (c *cluster) fill(from, to string, g *page) error {
	t, err := template.New(from).Option("missingkey=error").ParseFiles(filepath.Join(c.root, "configs", "cluster", from))
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, g); err != nil {
		return err
	}
	return os.WriteFile(c.conf(to), text.Bytes(), 0o600)
}

// writeRunFile lets the client commands of catena find the cluster by its folder, as they find a development server.
func (c *cluster) writeRunFile() error {
	text, err := json.Marshal(map[string]any{
		"pid": 0, "ws_url": c.wsURL(c.kind("edge")[0]), "nats_url": c.natsURL("operator"), "started": time.Now().UTC(),
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "run.json"), append(text, '\n'), 0o600)
}

// makeSecrets makes the key that signs tokens, once: as a file of the servers' configuration, and as the development key
// that the client commands sign with.
func (c *cluster) makeSecrets() error {
	if _, err := os.Stat(c.secretFile()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	secret := rand.Text() + rand.Text()
	encoded := base64.StdEncoding.EncodeToString([]byte(secret))
	if err := os.WriteFile(filepath.Join(c.dir, "auth.key"), []byte(encoded+"\n"), 0o600); err != nil {
		return err
	}
	return os.WriteFile(c.secretFile(), []byte(secret+"\n"), 0o600)
}

func (c *cluster) secretFile() string { return filepath.Join(c.dir, "token.key") }

// password is a user's on the NATS servers. They listen on this machine only, and let anybody be the operator.
func (c *cluster) password(user string) string { return user + "-of-the-development-cluster" }

func (c *cluster) natsPasswords() []string {
	var env []string
	for _, user := range []string{"provisioner", "edge", "sequencer", "history", "operator", "admin"} {
		env = append(env, "CATENA_"+strings.ToUpper(user)+"_PASSWORD="+c.password(user))
	}
	return env
}

// servers are the addresses of the NATS servers; user may be empty.
func (c *cluster) servers(user string) string {
	var all []string
	for _, p := range c.kind("nats") {
		all = append(all, "nats://"+user+"127.0.0.1:"+strconv.Itoa(p.Ports["client"]))
	}
	return strings.Join(all, ",")
}

func (c *cluster) natsURL(user string) string { return c.servers(user + ":" + c.password(user) + "@") }

// pds are the addresses of PD.
func (c *cluster) pds() string {
	if c.PD != "" {
		return c.PD
	}
	return "127.0.0.1:" + strconv.Itoa(c.kind("pd")[0].Ports["client"])
}

func (c *cluster) wsURL(edge *process) string {
	return "ws://127.0.0.1:" + strconv.Itoa(edge.Ports["client"]) + "/ws"
}
