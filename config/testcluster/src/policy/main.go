// Command policy carries out the NetworkPolicy objects of a cluster of one node whose pods share a
// bridge: policy -kubeconfig FILE -table NAME -bridge NAME -dns ADDRESS
// [-proxy PORT -proxy-pods SELECTOR]. It keeps one nftables table
// and replaces it whole, in one transaction, whenever pods, namespaces or policies change. The table
// stays when it ends. What the node itself sends to pods is never held up.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// settle is how long changes are collected: a namespace with its policies and pods comes at once.
const settle = 20 * time.Millisecond

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	var n node
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of one who may list pods, namespaces and network policies")
	flag.StringVar(&n.table, "table", "", "name of the nftables table (family inet) to keep")
	flag.StringVar(&n.bridge, "bridge", "", "bridge that the pods hang on")
	flag.StringVar(&n.dns, "dns", "", "the node's address, where every pod may ask for names")
	flag.IntVar(&n.proxy, "proxy", 0, "port of the node that leads out of the cluster, for the pods of -proxy-pods alone")
	selector := flag.String("proxy-pods", "", "label selector of these pods")
	flag.Parse()
	if flag.NArg() > 0 || *kubeconfig == "" || n.table == "" || n.bridge == "" || n.dns == "" {
		flag.Usage()
		os.Exit(2)
	}
	var err error
	if n.proxyPods, err = labels.Parse(*selector); err != nil {
		log.Fatalf("-proxy-pods: %v", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *kubeconfig, n); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, kubeconfig string, n node) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	touch := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	f := informers.NewSharedInformerFactory(client, 0)
	pods, namespaces, policies := f.Core().V1().Pods(), f.Core().V1().Namespaces(), f.Networking().V1().NetworkPolicies()
	for _, i := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: touch, UpdateFunc: func(_, o any) { touch(o) }, DeleteFunc: touch}); err != nil {
			return err
		}
	}
	f.Start(ctx.Done())
	for kind, ok := range f.WaitForCacheSync(ctx.Done()) {
		if !ok {
			return fmt.Errorf("cannot list %v", kind)
		}
	}
	last := ""
	for {
		var s state
		var errs [3]error
		s.pods, errs[0] = pods.Lister().List(labels.Everything())
		s.namespaces, errs[1] = namespaces.Lister().List(labels.Everything())
		s.policies, errs[2] = policies.Lister().List(labels.Everything())
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
		rules, err := render(n, s)
		if err != nil {
			return err
		}
		if rules != last {
			if err := load(ctx, rules); err != nil {
				return err
			}
			log.Printf("%d policies for %d pods in force", len(s.policies), len(s.pods))
			last = rules
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settle):
		}
	}
}

func load(ctx context.Context, rules string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft refuses the rules: %w: %s\n%s", err, bytes.TrimSpace(out), rules)
	}
	return nil
}
