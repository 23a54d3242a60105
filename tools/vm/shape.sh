# SPDX-License-Identifier: GPL-2.0
# Sourced by run.sh: what streams in the machine, and where it sits.

# "igb*2,nvme" as "igb,igb,nvme"
shape_expand()
{
	echo "$1" | tr ',' '\n' | awk -F'*' '{
		n = NF > 1 ? $2 + 0 : 1
		if (n < 1 || n > 32) { n = 1; $1 = $0 }
		for (i = 0; i < n; i++) { printf "%s%s", sep, $1; sep = "," }
	}'
}

# A root port, number $n
shape_port()
{
	hotplug=off
	[ $place = port ] || hotplug=on
	printf '%s\n' -device "pcie-root-port,id=port$n,bus=pcie.0,addr=$((4 + n / 8)).$((n % 8)),multifunction=on,chassis=$n,slot=$n,hotplug=$hotplug"
}

# Where device number $1 of the machine goes: sets bus and addr, prints the
# bridges it needs, and adds the way there from the root bus to paths, device
# and function a hop. Bus numbers are the guest's to choose.
shape_place()
{
	n=$1
	case $place in
	root)
		# Two slots apart: an igb reserves room for its virtual functions
		# 16 slots on.
		bus=pcie.0 path=$(printf '%02x.0' $((4 + 2 * n)))
		addr=$path
		;;
	port|slot|spare)
		shape_port
		bus=port$n addr=0.0
		path=$(printf '%02x.%d/00.0' $((4 + n / 8)) $((n % 8)))
		;;
	switch)
		[ $n != 0 ] || printf '%s\n' \
			-device pcie-root-port,id=top,bus=pcie.0,addr=4.0,chassis=100,slot=100 \
			-device x3130-upstream,id=upper,bus=top \
			-device xio3130-downstream,id=between,bus=upper,addr=0.0,chassis=101,slot=101 \
			-device x3130-upstream,id=lower,bus=between
		printf '%s\n' -device "xio3130-downstream,id=port$n,bus=lower,addr=$(printf '%x.0' $n),chassis=$n,slot=$n"
		bus=port$n addr=0.0
		path=$(printf '04.0/00.0/00.0/00.0/%02x.0/00.0' $n)
		;;
	pci-bridge)
		[ $n != 0 ] ||
			printf '%s\n' -device pcie-pci-bridge,id=bridge,bus=pcie.0,addr=4.0
		bus=bridge addr=$(printf '%02x.0' $((2 * n + 1)))
		path=04.0/$addr
		;;
	esac
	paths=${paths:+$paths,}$path
}

# shape DEVICES PLACE RATE DIR: the arguments for QEMU, one a line, to DIR/shape.
# Sets paths, and shape_iommu to what they ask of the IOMMU.
shape()
{
	place=$2 rate=$3 dir=$4 paths= shape_iommu= count=0
	case $place in
	root)		most=6 ;;
	port|slot|spare|switch) most=32 ;;
	pci-bridge)	most=6 ;;
	*)		die "PLACE=$place: there is root, port, slot, spare, switch and pci-bridge" ;;
	esac
	# pciehp instead of ACPI, as on real machines
	printf '%s\n' -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off >"$dir/shape"
	for device in $(echo "$1" | tr ',' ' '); do
		[ $count -lt $most ] ||
			die "DEVICES=$1: at most $most devices with PLACE=$place"
		shape_place $count >>"$dir/shape"
		where=id=dev$count,bus=$bus,addr=$addr,romfile=
		mac=$(printf 'mac=02:00:00:00:01:%02x' $count)
		case $device in
		igb|e1000e)	model=$device,netdev=n$count,$mac ;;
		virtio|virtio-noats)
			ats=on
			[ $device = virtio ] || ats=off
			model=virtio-net-pci,iommu_platform=on,disable-legacy=on,ats=$ats,rx_queue_size=1024,netdev=n$count,$mac
			shape_iommu=,device-iotlb=on
			;;
		nvme)
			model=nvme,drive=drive$count,serial=$count
			printf '%s\n' -drive "if=none,id=drive$count,format=raw,file=$dir/nvme$count,throttling.iops-total=$(((rate + 4) / 5))" >>"$dir/shape"
			;;
		*)		die "DEVICES=$1: there is igb, e1000e, virtio, virtio-noats and nvme" ;;
		esac
		case $device in
		nvme)	;;
		*)	printf '%s\n' -netdev "dgram,id=n$count,local.type=unix,local.path=$dir/qemu$count,remote.type=unix,remote.path=$dir/host$count" >>"$dir/shape" ;;
		esac
		printf '%s\n' -device "$model,$where" >>"$dir/shape"
		count=$((count + 1))
	done
	[ $count != 0 ] || die "DEVICES= is empty"
	n=$count
	[ $place != spare ] || shape_port >>"$dir/shape"
}
