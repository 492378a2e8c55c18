package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const (
	provisionedBy = "pv.kubernetes.io/provisioned-by"
	provisioner   = "test-node/folder"
	// What failed is tried again this often.
	resync = 5 * time.Second
)

// Gives each claim for a volume a folder of this node, and takes the folder away with the claim. The volumes are local
// ones: kubelet gives them the group that a pod asks for (fsGroup), which it does not do for those of type hostPath.
type volumes struct {
	client *kubernetes.Clientset
	folder string
	class  string
}

func newVolumeProvisionerCommand() *cobra.Command {
	return &cobra.Command{
		Use:  "volume-provisioner KUBECONFIG FOLDER STORAGE-CLASS",
		Args: cobra.ExactArgs(3),
		RunE: func(command *cobra.Command, arguments []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", arguments[0])
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			volumes := volumes{client: client, folder: arguments[1], class: arguments[2]}
			return volumes.serve(command.Context())
		},
	}
}

func (v volumes) serve(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(v.client, resync)
	look := func(object any) {
		var err error
		switch object := object.(type) {
		case *core.PersistentVolumeClaim:
			err = v.provide(ctx, object)
		case *core.PersistentVolume:
			err = v.release(ctx, object)
		}
		if err != nil {
			klog.ErrorS(err, "a volume has to wait")
		}
	}
	handlers := cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, object any) { look(object) }}
	if _, err := factory.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(handlers); err != nil {
		return err
	}
	if _, err := factory.Core().V1().PersistentVolumes().Informer().AddEventHandler(handlers); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	return nil
}

// Makes the volume of a claim that has none. The claim is named in it, so that no other gets it.
func (v volumes) provide(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	class := claim.Spec.StorageClassName
	if claim.Status.Phase != core.ClaimPending || claim.Spec.VolumeName != "" || class == nil || *class != v.class {
		return nil
	}
	name := "claim-" + string(claim.UID)
	path := filepath.Join(v.folder, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	here := core.NodeSelectorRequirement{Key: core.LabelHostname, Operator: core.NodeSelectorOpExists}
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisioner}},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      claim.Spec.Resources.Requests,
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimDelete,
			StorageClassName:              v.class,
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			ClaimRef: &core.ObjectReference{
				Kind: "PersistentVolumeClaim", APIVersion: "v1",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{
				{MatchExpressions: []core.NodeSelectorRequirement{here}},
			}}},
		},
	}
	_, err := v.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// Removes a volume whose claim is gone, with its files.
func (v volumes) release(ctx context.Context, volume *core.PersistentVolume) error {
	ours := volume.Annotations[provisionedBy] == provisioner && volume.Spec.Local != nil
	if !ours || volume.Status.Phase != core.VolumeReleased || volume.DeletionTimestamp != nil {
		return nil
	}
	if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
		return err
	}
	err := v.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if errors.IsNotFound(err) {
		return nil
	}
	return err
}
